"""What a worker of a comparison is asked and what it answers: one line of JSON each way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from bench.data.duet import DuetReplicate, SideName, Version
from bench.data.environment import Environment
from bench.data.protocol import Protocol
from bench.data.variant import Variant
from bench.run.messages import Exact


@dataclass(frozen=True, kw_only=True)
class DuetRequest:
    """A job for a worker that hosts one version or both.

    `hello` describes the environment and lists what each side registers; `count` takes everything exact of one side.
    `replicate` takes a whole replicate, for which both sides must be there. In lock step with a process of the other
    side, `build` builds a variant anew and warms it up, and `step` runs one step.
    """

    do: Literal["hello", "count", "replicate", "build", "step"]
    variant: Variant | None = None
    side: SideName = "base"
    index: int = 0
    head_first: bool = False
    device: str = "cpu"


@dataclass(frozen=True, kw_only=True)
class DuetAnswer:
    """What a job gave.

    `names` are the registered names by side and kind. `usage` is set for a user's mistake, `failure` for a specimen
    that broke, with the side in `side`; `leak` says why the two versions cannot live in one process.
    """

    environment: Environment | None = None
    names: dict[SideName, dict[str, list[str]]] = field(default_factory=dict)
    exact: Exact | None = None
    replicate: DuetReplicate | None = None
    samples: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    steps: int = 0
    side: SideName | None = None
    usage: str | None = None
    failure: str | None = None
    leak: str | None = None


@dataclass(frozen=True, kw_only=True)
class DuetSettings:
    """What a worker is told when it starts; `begun` is when the run began, on the machine's monotonic clock."""

    worker: int
    begun: float
    protocol: Protocol
    versions: tuple[Version, ...]
