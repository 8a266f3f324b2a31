"""What every worker process is: it reads jobs from standard input, one line of JSON each, and answers them."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TextIO, TypeVar

import msgspec
import torch

_PR_SET_PDEATHSIG = 1
Job = TypeVar("Job")
Given_contra = TypeVar("Given_contra", contravariant=True)


class Host(Protocol[Given_contra]):
    """Anything that answers jobs."""

    def answer(self, job: Given_contra) -> Any:
        """Does a job; what goes wrong in it becomes part of the answer."""
        ...


def serve(jobs: type[Job], start: Callable[[], AbstractContextManager[Host[Job]]]) -> int:
    """Starts a host and lets it answer jobs until there are no more; returns the exit code."""
    _die_with_parent()
    lines, answers = _take_over_pipes()
    # What plug-ins warn about is theirs to fix; it must not fill the pipe of a process that measures.
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    # torch puts off importing its compiler until the first optimizer is used, which must not be inside a replicate.
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1).zero_grad()
    with start() as host:
        # What torch is made of stays: collecting what replicates leave behind must not go through all of it each time.
        gc.freeze()
        for line in lines:
            answer = host.answer(msgspec.json.decode(line, type=jobs))
            answers.write(msgspec.json.encode(answer).decode() + "\n")
            answers.flush()
    return 0


def _take_over_pipes() -> tuple[TextIO, TextIO]:
    """Moves the pipes to descriptors of their own, so that a plug-in's print cannot be taken for an answer."""
    jobs, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return os.fdopen(jobs, encoding="utf-8"), os.fdopen(answers, "w", encoding="utf-8")


def _die_with_parent() -> None:
    """Asks the kernel to end this process with its parent: a kill of the command leaves no orphan that computes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
