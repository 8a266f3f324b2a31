"""A model's performance: each layer's cost, time and bound, and the figures of the whole that follow from them."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lowbit.deploy import roofline, target
from lowbit.deploy.layers import LayerCost, costs, weight_bytes
from lowbit.deploy.roofline import Bound, Machine
from lowbit.deploy.target import Target
from lowbit.deploy.timing import Times, median
from lowbit.deploy.trace import Trace
from lowbit.pipeline.statistics import Interval


@dataclass(frozen=True, kw_only=True)
class Row:
    """One layer: its cost, its time in seconds, its bound on this machine, and what a target would take.

    A model that is timed as a whole only has no times.
    """

    cost: LayerCost
    time: Interval | None
    share: float | None
    bound: Bound | None
    predicted: Bound | None

    @property
    def reached(self) -> float | None:
        """The part of the bound that is reached: the least time over the measured one. Beyond 1, caches helped."""
        if self.time is None or self.bound is None or not self.time.center:
            return None
        return self.bound.seconds / self.time.center


@dataclass(frozen=True, kw_only=True)
class Performance:
    """What one model does on this machine, for a batch of `frames`; times are in seconds, sizes in bytes.

    `whole` is a forward without marks, `marked` the median of those with marks, and `glue` what they spend outside of
    all rows: in Python between layers. `cpu` is the median time in which a forward's thread ran, and `added_cpu`
    that of all rows and the glue. `weights` are the bytes of all weights that a forward reads, each once. `peak` is the
    most that a forward holds at once beside them.
    """

    name: str
    frames: int
    rows: tuple[Row, ...]
    whole: Interval
    cpu: float
    added_cpu: float | None
    marked: float | None
    glue: Interval | None
    runs: int
    weights: int
    peak: int | None
    machine: Machine
    target: Target | None

    @property
    def latency(self) -> float:
        """Seconds of a run."""
        return self.whole.center

    @property
    def fps(self) -> float:
        """Frames a second: the frames of a run by its latency."""
        return self.frames / self.latency

    @property
    def runs_per_second(self) -> float:
        """Runs a second."""
        return 1 / self.latency

    @property
    def operations(self) -> int:
        """Operations of a run, two for each multiply-accumulate."""
        return sum(row.cost.operations for row in self.rows)

    @property
    def loaded(self) -> int:
        """Bytes that the layers of a run load."""
        return sum(row.cost.loaded for row in self.rows)

    @property
    def stored(self) -> int:
        """Bytes that the layers of a run store."""
        return sum(row.cost.stored for row in self.rows)

    @property
    def bytes_per_second(self) -> float:
        """Bytes of a run by runs a second."""
        return (self.loaded + self.stored) * self.runs_per_second

    @property
    def added(self) -> float | None:
        """The sum of the times of all rows and of the glue, never scaled to the whole; None without times."""
        if self.glue is None:
            return None
        return sum(row.time.center for row in self.rows if row.time is not None) + self.glue.center

    @property
    def uncounted(self) -> dict[str, int]:
        """Operators whose cost nobody knows, and how often they were called."""
        found: Counter[str] = Counter()
        for row in self.rows:
            found.update(row.cost.uncounted)
        return dict(found)

    @property
    def predicted(self) -> float | None:
        """Seconds of a run on the target, one layer after the other; None without a target."""
        if self.target is None:
            return None
        return sum(row.predicted.seconds for row in self.rows if row.predicted is not None)


def performance(
    name: str,
    *,
    trace: Trace,
    frames: int,
    times: Times,
    machine: Machine,
    on: Target | None = None,
    peak: int | None = None,
) -> Performance:
    """Joins what was traced with what was timed.

    Raises InvalidTarget for a target that has no peak for what a layer computes with.
    """
    found = costs(trace)
    if on is not None:
        target.check(on, found)
    whole = median(times.whole)
    places = {cost.place for cost in found}
    outside = [seconds for place, seconds in times.places.items() if place not in places]
    seen_inside = bool(times.marked)
    return Performance(
        name=name,
        frames=frames,
        rows=tuple(_row(cost, times.places, whole.center, machine, on) for cost in found),
        whole=whole,
        cpu=statistics.median(times.cpu),
        added_cpu=sum(map(statistics.median, times.places_cpu.values())) if seen_inside else None,
        marked=statistics.median(times.marked) if seen_inside else None,
        glue=_sum(outside, len(times.marked)) if seen_inside else None,
        runs=len(times.whole),
        weights=weight_bytes(trace),
        peak=peak,
        machine=machine,
        target=on,
    )


def _row(
    cost: LayerCost, places: Mapping[str, Sequence[float]], whole: float, machine: Machine, on: Target | None
) -> Row:
    time = median(places[cost.place]) if cost.place in places else None
    return Row(
        cost=cost,
        time=time,
        share=None if time is None else time.center / whole,
        bound=roofline.bound(cost, machine),
        predicted=None if on is None else target.predict(cost, on),
    )


def _sum(parts: Sequence[Sequence[float]], runs: int) -> Interval:
    return median([sum(part[run] for part in parts) for run in range(runs)])
