"""From replicates to a median with its interval.

The unit of replication is the worker process: where the loader and the allocator put things biases all that one
process measures by several percent, and more samples inside it cannot take that away (Kalibera and Jones,
arXiv 2007.10899). So samples give a median for each replicate, replicates a mean for each worker, and the interval
comes from the spread of the workers.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from scipy.special import stdtrit

from bench.analyze.row import Summary
from bench.data.measurement import Replicate

LEVEL = 0.95


def summarize(replicates: Sequence[Replicate], metric: str) -> Summary | None:
    """Returns the median of a metric in seconds with its 95 % interval; None where it was not measured."""
    present = [replicate for replicate in replicates if replicate.samples.get(metric)]
    logs = [(replicate.worker, log_median(replicate, metric)) for replicate in present]
    if not logs:
        return None
    center, half = interval(logs)
    return Summary(
        center=math.exp(center),
        low=None if half is None else math.exp(center - half),
        high=None if half is None else math.exp(center + half),
        samples=sum(len(replicate.samples[metric]) for replicate in present),
        replicates=len(present),
        workers=len({worker for worker, _ in logs}),
    )


def log_median(replicate: Replicate, metric: str) -> float:
    """Returns the logarithm of the median of one replicate; a clock that stood still counts as one nanosecond."""
    return math.log(max(statistics.median(replicate.samples[metric]), 1e-9))


def interval(values: Iterable[tuple[int, float]]) -> tuple[float, float | None]:
    """Returns the mean of (worker, value) pairs and the half width of its 95 % interval.

    Values of one worker are averaged first, then Student's t is taken over workers. With a single worker it is taken
    over its values, which is too narrow by what that process itself is off; with a single value there is none.
    """
    by_worker: dict[int, list[float]] = {}
    for worker, value in values:
        by_worker.setdefault(worker, []).append(value)
    units = [statistics.fmean(group) for group in by_worker.values()]
    if len(units) == 1:
        (units,) = by_worker.values()
    center = statistics.fmean(units)
    if len(units) < 2:
        return center, None
    quantile = float(stdtrit(len(units) - 1, (1 + LEVEL) / 2))
    return center, quantile * statistics.stdev(units) / math.sqrt(len(units))
