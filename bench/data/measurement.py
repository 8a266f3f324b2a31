"""A measurement: the raw samples of one variant, its exact counters and its caveats."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.data.protocol import Protocol
from bench.data.variant import Variant

# The code of what a quantization says of itself in case that its row is slower than a float one; silent otherwise.
WHEN_SLOWER = "slower-than-float"


@dataclass(frozen=True, kw_only=True)
class Caveat:
    """A warning that travels with a number and is printed once, as a footnote.

    `code` is stable and lower case with hyphens; `message` is one sentence for people.
    """

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Replicate:
    """One rebuild of model and optimizer and its samples; the unit of replication is `worker`.

    `started` is seconds since the run began. `samples` maps a noisy metric's name to its values in seconds, in the
    order they were taken. `foreign_load` is the number of cores that other processes kept busy meanwhile, None
    where the system does not say. `settled` is False when the warm-up ended by its time limit.
    """

    worker: int
    round: int
    started: float
    warmup_steps: int
    settled: bool
    foreign_load: float | None
    samples: dict[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Counters:
    """The exact half of a row.

    `values` maps an exact metric's name to its value; None stands for a value that is not a finite number.
    `state_bytes` splits the optimizer's state by part (`momentum`, `statistics`, `scales`, ...).
    """

    values: dict[str, float | None] = field(default_factory=dict)
    state_bytes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Everything that was observed of one variant under one protocol.

    `failure` is the one-line reason when the variant could not be measured; replicates taken before it are kept.
    `caveats` are those that only the run could see; what follows from samples is derived when a report is made.
    """

    variant: Variant
    protocol: Protocol
    phases: tuple[str, ...]
    replicates: tuple[Replicate, ...] = ()
    counters: Counters = Counters()
    caveats: tuple[Caveat, ...] = ()
    failure: str | None = None
