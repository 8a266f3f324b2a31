"""What a profiling worker is asked and what it answers: one line of JSON each way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.data.duet import SideName, Version
from bench.data.environment import Environment
from bench.data.measurement import Caveat
from bench.data.profile import Function, StepTimes, TracedOperation
from bench.data.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is profiled: a variant in the installed code, or in one side's version; the functions that were named."""

    variant: Variant
    side: SideName | None = None
    functions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProfileSettings:
    """What a worker is told when it starts: the versions it hosts, or the plug-in files of the installed code."""

    worker: int
    data: str
    seed: int
    versions: tuple[Version, ...] = ()
    plugins: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProfileRequest:
    """A job for a worker.

    `hello` describes the environment and what may not be hosted together; `lines` takes a replicate of some subjects;
    `busy` builds a subject, warms it up, and answers; then it runs its steps for some seconds, for who samples stacks
    from outside, and answers again. `trace` runs it under torch's profiler and writes Chrome's trace to `path`.
    """

    do: Literal["hello", "lines", "busy", "trace"]
    subjects: tuple[Subject, ...] = ()
    steps: int = 0
    seconds: float = 0.0
    path: str = ""
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class TakenLines:
    """A replicate of one subject: its functions, their lines with the seconds of this replicate only."""

    functions: tuple[Function, ...]
    times: StepTimes
    events: dict[str, float]
    commit: str | None
    dirty: bool
    caveats: tuple[Caveat, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failed:
    """Why a subject gave nothing: a user's mistake (`usage`), or a specimen that broke."""

    message: str
    usage: bool = False


@dataclass(frozen=True, kw_only=True)
class ProfileAnswer:
    """What a job gave, by subject; what went wrong with one stands in its place of `failed`, the others go on."""

    environment: Environment | None = None
    taken: tuple[TakenLines | None, ...] = ()
    failed: tuple[Failed | None, ...] = ()
    operations: tuple[TracedOperation, ...] = ()
    steps: int = 0
    usage: str | None = None
    failure: str | None = None
    apart: str | None = None
