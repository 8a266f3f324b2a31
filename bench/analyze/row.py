"""What a report shows of one variant: summaries, ratios, counters and caveats; all derived, nothing stored."""

from __future__ import annotations

from dataclasses import dataclass

from bench.data.accuracy import Accuracy
from bench.data.environment import Environment
from bench.data.measurement import Caveat, Counters
from bench.data.origin import Origin
from bench.data.protocol import Protocol
from bench.data.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A median with its 95 % interval, in the metric's SI unit; no interval (None) below two replicates."""

    center: float
    low: float | None
    high: float | None
    samples: int
    replicates: int
    workers: int


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """A paired ratio to a baseline with its 95 % interval; no interval (None) below two pairs."""

    center: float
    low: float | None
    high: float | None
    pairs: int
    baseline: Variant


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over seeds with its 95 % interval, Student's t; no interval (None) of a single seed."""

    center: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The share of right answers of a quantized model, and how much more that is than its float model's, by seed."""

    accuracy: Accuracy
    share: Mean
    difference: Mean


@dataclass(frozen=True, kw_only=True)
class Row:
    """One variant of a report.

    `summaries` maps noisy metric names to summaries; a metric that was not measured is absent. `ratio` is that of
    the step to the baseline row of the same model and axes, None without such a row. `fastest_float` is that to the
    fastest float row that takes the same step in another way, `plain_float` that to the one with
    nothing special about it; None without such a row, or where the row is that one itself. `caveats` holds the recorded
    ones first, then those that follow from the samples. `origin` is that of what another tool has measured.
    `accuracies` are those of other runs, of the same model and quantization, that a report was given.
    """

    variant: Variant
    phases: tuple[str, ...]
    summaries: dict[str, Summary]
    ratio: Ratio | None
    fastest_float: Ratio | None
    plain_float: Ratio | None
    counters: Counters
    caveats: tuple[Caveat, ...]
    failure: str | None
    origin: Origin | None = None
    accuracies: tuple[Standing, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows that may stand side by side: one host, one protocol, one software environment.

    `commits` lists `commit` hashes (with `+dirty` appended where the tree differed) in the order they were met.
    """

    environment: Environment
    protocol: Protocol
    commits: tuple[str, ...]
    created: str
    baseline: str
    rows: tuple[Row, ...]
