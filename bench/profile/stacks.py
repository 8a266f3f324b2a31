"""Stacks of a running step, sampled from outside by py-spy: a flame graph, and a profile for speedscope."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.errors import StepbenchError
from bench.profile.messages import ProfileRequest, Subject
from bench.profile.session import PATIENCE_S, ProfilePlan, started

# What py-spy draws, and how each file ends.
FORMATS = {"flamegraph": ".svg", "speedscope": ".speedscope.json"}
# The step goes on while py-spy starts, which takes a second or two on a loaded machine, and writes what it saw.
MARGIN_S = 3.0
_FORBIDDEN = ("permission denied", "operation not permitted", "eperm", "run as root", "ptrace")


@dataclass(frozen=True, kw_only=True)
class Stacks:
    """The files that were written, and for each that was not, why, with what would help."""

    files: tuple[Path, ...]
    skipped: tuple[str, ...]
    steps: int


def record(plan: ProfilePlan, place: Callable[[str], Path], *, seconds: float, rate: int, native: bool) -> Stacks:
    """Builds a plan's subject in a process, warms it up there, and samples its stacks while it runs.

    `place` gives the path of a file from its ending. What the system forbids is skipped and said; a subject that
    cannot run raises StepbenchError.
    """
    subject = plan.subjects[0]
    with ExitStack() as stack:
        worker = started(plan, 0, tuple(version for version in plan.versions if version.side == subject.side))
        stack.callback(worker.stop)
        ready = worker.ask(ProfileRequest(do="busy", subjects=(subject,)), PATIENCE_S)
        _check(subject, ready.usage or ready.failure)
        program = _program()
        if program is None:
            return Stacks(files=(), skipped=("py-spy is not installed: pip install py-spy",), steps=0)
        worker.send(ProfileRequest(do="busy", subjects=(subject,), seconds=seconds + MARGIN_S))
        samplers = {}
        for form, ending in FORMATS.items():
            path = place(ending)
            command = [
                program, "record", "--pid", str(worker.pid), "--format", form, "--output", str(path), "--nonblocking",
                "--rate", str(rate), "--duration", str(max(1, round(seconds))), *(["--native"] if native else []),
            ]  # fmt: skip
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            stack.callback(_end, process)
            samplers[path] = process
        said = {path: process.communicate()[1].decode(errors="replace") for path, process in samplers.items()}
        answer = worker.receive(PATIENCE_S)
        _check(subject, answer.usage or answer.failure)
        good = [path for path, process in samplers.items() if process.returncode == 0 and path.is_file()]
        reasons = dict.fromkeys(reason(text) for path, text in said.items() if path not in good)
        return Stacks(files=tuple(good), skipped=tuple(reasons), steps=answer.steps)


def reason(said: str) -> str:
    """Returns why py-spy wrote nothing, and what would help."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    message = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "it said nothing")
    remedy = ""
    if any(word in said.lower() for word in _FORBIDDEN):
        remedy = (
            "; the system forbids to read other processes: run as root, give a container --cap-add=SYS_PTRACE, or set "
            "/proc/sys/kernel/yama/ptrace_scope to 0"
        )
    return f"py-spy: {message}{remedy}"


def _check(subject: Subject, wrong: str | None) -> None:
    if wrong:
        raise StepbenchError(f"{subject.variant}: {wrong}")


def _program() -> str | None:
    """Returns py-spy's path: beside this Python, where packages put their commands, or wherever the shell finds it."""
    beside = (Path(sys.executable).parent, Path(sysconfig.get_path("scripts")))
    return next((str(path / "py-spy") for path in beside if (path / "py-spy").is_file()), shutil.which("py-spy"))


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    if process.stderr is not None:
        process.stderr.close()
