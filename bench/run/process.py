"""A worker process, seen from its parent: it is sent jobs and answers them, one line of JSON each way."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from types import MappingProxyType
from typing import IO, Any, Generic, Self, TypeVar

import msgspec

from bench.errors import WorkerLost

# Most jobs answer within seconds; a replicate of steps that take ten seconds each is one answer, and takes minutes.
PATIENCE_S = 600.0
Answer = TypeVar("Answer")


class Workers(ABC):
    """Worker processes that live as long as a block, however it ends."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Starts them; raises StepbenchError where one cannot start."""
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all of them."""
        self._stack.close()

    @abstractmethod
    def _open(self) -> None:
        """Starts what the block needs."""


class WorkerProcess(Generic[Answer]):
    """One worker process, started as `python -m module arguments`; raises WorkerLost when it dies or stays silent.

    Threads and the OpenMP wait policy are set in its environment, because torch reads them when it is imported.
    """

    def __init__(
        self,
        index: int,
        threads: int,
        wait_policy: str,
        *,
        module: str,
        arguments: Sequence[str],
        answers: type[Answer],
        python: str | None = None,
        name: str = "",
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.index = index
        self.name = name or f"worker {index}"
        self._answers = answers
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": wait_policy,
            **settings,
        }
        # -P: a folder `bench` where the command was called must not be taken for the instrument.
        self._process = subprocess.Popen(
            [python or sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        self._pending = b""

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def ask(self, request: Any, patience_s: float = PATIENCE_S) -> Answer:
        """Sends a job and waits for its answer."""
        self.send(request)
        return self.receive(patience_s)

    def send(self, request: Any) -> None:
        """Sends a job without waiting for its answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(msgspec.json.encode(request) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerLost(self._obituary()) from None

    def receive(self, patience_s: float = PATIENCE_S) -> Answer:
        """Waits for the answer to the job sent last."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.output, selectors.EVENT_READ)
            while True:
                if not selector.select(patience_s):
                    self.stop()
                    raise WorkerLost(f"{self.name} did not answer within {patience_s:.0f} s and was stopped")
                answer = self.collect()
                if answer is not None:
                    return answer

    @property
    def output(self) -> IO[bytes]:
        """Where answers come from; `collect` reads it when there is something to read."""
        assert self._process.stdout is not None
        return self._process.stdout

    def collect(self) -> Answer | None:
        """Reads what the process has written and returns its answer, None while that is not whole."""
        chunk = os.read(self.output.fileno(), 1 << 20)
        if not chunk:
            raise WorkerLost(self._obituary())
        self._pending += chunk
        if b"\n" not in self._pending:
            return None
        line, _, self._pending = self._pending.partition(b"\n")
        return msgspec.json.decode(line, type=self._answers)

    def stop(self) -> None:
        """Ends the process and frees what it held."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    # A job that the process never read is lost with it.
                    continue

    def _obituary(self) -> str:
        self._process.wait()
        code = self._process.returncode
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        ending = f"by signal {-code}" if code < 0 else f"with code {code}"
        return f"{self.name} ended {ending}: {lines[-1] if lines else 'it said nothing'}"
