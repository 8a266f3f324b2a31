"""From replicates to a median with its interval.

The unit of replication is the worker process: where the loader and the allocator put things biases all that one
process measures by several percent, and more samples inside it cannot take that away (Kalibera and Jones,
arXiv 2007.10899). So samples give a median for each replicate, replicates a mean for each worker, and the interval
comes from the spread of the workers, or from that of as many stretches of time where it is wider: a machine that
changes its speed every half minute biases all workers alike.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from bench.analyze.row import Summary
from bench.analyze.speeds import two_speeds
from bench.data.measurement import Replicate

LEVEL = 0.95


class Value(NamedTuple):
    """What one replicate says: which worker took it, in which round of the run, and its logarithm or ratio."""

    worker: int
    round: int
    value: float


def summarize(replicates: Sequence[Replicate], metric: str) -> Summary | None:
    """Returns the median of a metric in seconds with its 95 % interval; None where it was not measured.

    Where steps run at two speeds the interval reaches from one to the other: which of them a run sees, and for how
    long, is chance, and another run may see the other one only.
    """
    present = [replicate for replicate in replicates if replicate.samples.get(metric)]
    logs = [Value(replicate.worker, replicate.round, log_median(replicate, metric)) for replicate in present]
    if not logs:
        return None
    center, half = interval(logs)
    low, high = (None, None) if half is None else (center - half, center + half)
    split = two_speeds(by_worker(present, metric))
    if split is not None and low is not None and high is not None:
        low, high = min(low, split.fast), max(high, split.slow)
    return Summary(
        center=math.exp(center),
        low=None if low is None else math.exp(low),
        high=None if high is None else math.exp(high),
        samples=sum(len(replicate.samples[metric]) for replicate in present),
        replicates=len(present),
        workers=len({value.worker for value in logs}),
    )


def log_median(replicate: Replicate, metric: str) -> float:
    """Returns the logarithm of the median of one replicate; a clock that stood still counts as one nanosecond."""
    return math.log(max(statistics.median(replicate.samples[metric]), 1e-9))


def by_worker(replicates: Sequence[Replicate], metric: str) -> list[np.ndarray[tuple[int], np.dtype[np.float64]]]:
    """Returns the logarithms of all samples of each worker."""
    found: dict[int, list[float]] = {}
    for replicate in replicates:
        found.setdefault(replicate.worker, []).extend(replicate.samples.get(metric, ()))
    return [np.log(np.maximum(np.asarray(samples), 1e-9)) for samples in found.values() if samples]


def interval(values: Iterable[Value]) -> tuple[float, float | None]:
    """Returns the mean of values and the half width of its 95 % interval, Student's t over workers.

    Values of one worker are averaged first. With a single worker the interval is taken over its values, which is too
    narrow by what that process itself is off; with a single value there is none. With several rounds it is taken over
    as many stretches of consecutive rounds as there are workers, too, and the wider one is returned.
    """
    ordered = sorted(values, key=lambda value: value.round)
    workers: dict[int, list[float]] = {}
    for value in ordered:
        workers.setdefault(value.worker, []).append(value.value)
    units = [statistics.fmean(group) for group in workers.values()]
    if len(units) == 1:
        (units,) = workers.values()
    center = statistics.fmean(units)
    if len(units) < 2:
        return center, None
    stretches = [float(np.mean(part)) for part in np.array_split([value.value for value in ordered], len(units))]
    return center, max(_half(units), _half(stretches))


def _half(units: Sequence[float]) -> float:
    quantile = float(stdtrit(len(units) - 1, (1 + LEVEL) / 2))
    return quantile * statistics.stdev(units) / math.sqrt(len(units))
