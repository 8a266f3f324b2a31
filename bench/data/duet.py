"""Nouns of a comparison: two versions of the same variants, measured against each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bench.data.environment import Environment
from bench.data.measurement import Caveat, Counters
from bench.data.variant import Variant

SideName = Literal["base", "head"]
SIDES: tuple[SideName, SideName] = ("base", "head")
Isolation = Literal["module", "process"]
Turns = Literal["step by step", "phase by phase", "at once"]
# What became of a variant: measured on both sides, registered on one only, or broken on one.
Status = Literal["compared", "new", "gone", "failed", "unmeasured"]


@dataclass(frozen=True, kw_only=True)
class Version:
    """One side of a comparison: a commit, or the working tree on top of one (`dirty`), as it was copied to `root`.

    `paths` are the folders that are import roots of this version, `plugins` what it registers its parts with: module
    names, or paths of files. A version with an environment of its own has its interpreter in `python` and, in
    `packages`, what that environment holds beside the running one's: names with versions.
    """

    side: SideName
    name: str
    commit: str
    dirty: bool
    root: str
    paths: tuple[str, ...]
    plugins: tuple[str, ...]
    python: str | None = None
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DuetReplicate:
    """Both versions built anew and timed step against step; the unit of replication.

    A fair coin decides which version gets the first place (`head_first`): first to be imported and built. In
    `samples`, by side and metric and in seconds, the values of one index belong to one pair. `turns` says how the
    sides took their steps: "at once" is on one core, with samples of CPU time in place of the wall's.
    """

    worker: int
    index: int
    head_first: bool
    started: float
    warmup_steps: int
    samples: dict[SideName, dict[str, tuple[float, ...]]]
    late_imports: tuple[str, ...] = ()
    turns: Turns = "step by step"


@dataclass(frozen=True, kw_only=True)
class Duet:
    """All that was measured of one variant on both sides.

    `isolation` says how the versions were kept apart and `because` why it was not by modules in one process.
    """

    variant: Variant
    status: Status
    phases: tuple[str, ...] = ()
    isolation: Isolation = "module"
    because: str | None = None
    replicates: tuple[DuetReplicate, ...] = ()
    counters: dict[SideName, Counters] = field(default_factory=dict)
    sources: dict[SideName, dict[str, str]] = field(default_factory=dict)
    caveats: tuple[Caveat, ...] = ()
    failure: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DuetRun:
    """What all duets of one comparison share; `options` are what the command was called with beside names."""

    id: str
    created: str
    base: Version
    head: Version
    environment: Environment
    data: str
    seed: int
    budget_s: float
    workers: int
    options: tuple[str, ...] = ()
