"""Nouns of a profile: what each line of a step's functions costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bench.data.environment import Environment
from bench.data.measurement import Caveat
from bench.data.variant import Variant

# History (raise the number when a field changes its name or meaning):
#   1  first schema
PROFILE_SCHEMA = 1
# Why a function was profiled: what a step consists of, what runs inside of it, or what somebody named.
Role = Literal["forward", "optimize", "hook", "marked", "named"]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation that reached the dispatcher under a line: how often a step, and its own seconds a step."""

    name: str
    count: float
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a function, as it was when it was profiled.

    `seconds` are by replicate and step, as the line profiler saw them: how long the line ran in that step, with
    everything it called. `events` are the events of Python's tracing under the line in one step, on which the
    profiler's own cost falls. `hooks` are shares of the line's time, by hook. `operations` are those that are no views.
    """

    number: int
    text: str
    hits: int = 0
    seconds: tuple[tuple[float, ...], ...] = ()
    events: dict[str, float] = field(default_factory=dict)
    hooks: dict[str, float] = field(default_factory=dict)
    operations: tuple[Operation, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Function:
    """A profiled function: every line of its source; `sha256` is that of its file's bytes, `first` its line."""

    name: str
    role: Role
    file: str
    sha256: str
    first: int
    lines: tuple[Line, ...]


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """A replicate's steps, by metric and in seconds: as many with the profiler as without, in turn."""

    worker: int
    warmup_steps: int
    plain: dict[str, tuple[float, ...]]
    profiled: dict[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The lines of one variant, in one version of the code.

    `version` is how the commit was named, None for the installed code; `session` tells which profiles were taken
    together, step by step in turn, so that their replicates can be paired. `commit` is that of the repository in which
    the profiled model lies. `events` are those of a step, by phase.
    """

    schema: int = PROFILE_SCHEMA
    session: str
    created: str
    variant: Variant
    version: str | None
    commit: str | None
    dirty: bool
    environment: Environment
    replicates: tuple[StepTimes, ...] = ()
    events: dict[str, float] = field(default_factory=dict)
    functions: tuple[Function, ...] = ()
    caveats: tuple[Caveat, ...] = ()
    failure: str | None = None


@dataclass(frozen=True, kw_only=True)
class TracedOperation:
    """A row of torch's profiler: calls a step, and seconds a step, by itself and with what it called."""

    name: str
    calls: float
    self_seconds: float
    total_seconds: float
    device_seconds: float = 0.0
