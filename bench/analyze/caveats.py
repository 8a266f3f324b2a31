"""What samples say against themselves: two speeds, drift, foreign load, a coarse clock, phases that do not add up."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.analyze.sample import interval, log_median
from bench.data.measurement import Caveat, Replicate
from bench.data.metric import SEGMENTS, STEP
from bench.data.record import Record

Array = npt.NDArray[np.float64]

# The best split explains 0.64 of the variance of a normal distribution and 0.75 of that of a uniform one; two separate
# speeds leave little unexplained.
SPLIT_EXPLAINS = 0.88
SPLIT_RATIO = 1.3
SPLIT_LEAST = 0.15
SPLIT_SAMPLES = 30
DRIFT_P = 0.001
DRIFT_SIZE = 0.05
FOREIGN_CORES = 0.25
CLOCK_STEPS = 100
UNSETTLED_SHARE = 0.2
SUM_TOLERANCE = 0.02


def derive(record: Record) -> tuple[Caveat, ...]:
    """Returns the caveats that follow from a record's samples and environment."""
    replicates = record.measurement.replicates
    if not replicates:
        return ()
    found = (
        _two_speeds(replicates),
        _drift(replicates),
        _load(record),
        _oversubscription(record),
        _coarse_clock(record),
        _unsettled(replicates),
        _sum(replicates),
    )
    return tuple(caveat for caveat in found if caveat is not None)


def _two_speeds(replicates: Sequence[Replicate]) -> Caveat | None:
    # All samples together: a machine that switches between two speeds may do so within a replicate or between two. What
    # placement does to a process is far below SPLIT_RATIO.
    parts = [_logs(replicate, STEP) for replicate in replicates if replicate.samples.get(STEP)]
    split = best_split(np.concatenate(parts)) if parts else None
    if split is None:
        return None
    share, gap = split
    return Caveat(
        code="two-speeds",
        message=f"steps run at two speeds, {100 * share:.0f} % of them {gap:.1f} times as slow as the rest, and "
        "a median shows one of them: look for threads that wait for each other (fewer threads), a changing frequency, "
        "or a neighbor on the same core",
    )


def best_split(values: Array) -> tuple[float, float] | None:
    """Returns the share of the slower cluster and the ratio of the two, or None for values of one cluster.

    `values` are logarithms. The split is the one with the largest variance between its two sides (Otsu 1979).
    """
    count = len(values)
    if count < SPLIT_SAMPLES:
        return None
    ordered = np.sort(values)
    total = float(np.var(ordered)) * count
    left = np.arange(1, count)
    sums = np.cumsum(ordered)[:-1]
    low, high = sums / left, (ordered.sum() - sums) / (count - left)
    between = left * (count - left) / count * (high - low) ** 2
    best = int(np.argmax(between))
    share = 1 - left[best] / count
    if total <= 0 or between[best] / total < SPLIT_EXPLAINS or min(share, 1 - share) < SPLIT_LEAST:
        return None
    gap = math.exp(high[best] - low[best])
    return (float(share), gap) if gap >= SPLIT_RATIO else None


def _drift(replicates: Sequence[Replicate]) -> Caveat | None:
    present = [
        (replicate.started, log_median(replicate, STEP)) for replicate in replicates if replicate.samples.get(STEP)
    ]
    if len(present) < 6:
        return None
    present.sort()
    medians = [median for _, median in present]
    third = len(medians) // 3
    change = math.expm1(statistics.fmean(medians[-third:]) - statistics.fmean(medians[:third]))
    if abs(change) < DRIFT_SIZE or kendall_p(medians) >= DRIFT_P:
        return None
    return Caveat(
        code="drift",
        message=f"steps became {100 * abs(change):.0f} % {'slower' if change > 0 else 'faster'} in the course of "
        "the run: the machine changed (heat, frequency, memory); let it come to rest and measure again",
    )


def kendall_p(values: Sequence[float]) -> float:
    """Returns the two-sided p value of Kendall's test that values in order have no trend, without ties, exactly.

    The number of inversions of a random order has the Mahonian distribution, built up element by element.
    """
    count = len(values)
    inversions = sum(values[i] > values[j] for i in range(count) for j in range(i + 1, count))
    ways = np.ones(1)
    for size in range(2, count + 1):
        ways = np.convolve(ways, np.ones(size)) / size
    extreme = min(inversions, len(ways) - 1 - inversions)
    return min(1.0, 2 * float(ways[: extreme + 1].sum()))


def _load(record: Record) -> Caveat | None:
    load = _median_load(record.measurement.replicates)
    if load is None or load <= FOREIGN_CORES:
        return None
    return Caveat(
        code="foreign-load",
        message=f"other processes kept {load:.1f} of {record.environment.cores} cores busy: times are longer and wider "
        "than on an idle machine; stop them and measure again",
    )


def _oversubscription(record: Record) -> Caveat | None:
    threads, cores = record.measurement.variant.threads, record.environment.cores
    load = _median_load(record.measurement.replicates) or 0.0
    if threads > cores:
        return Caveat(
            code="oversubscribed",
            message=f"{threads} threads share {cores} cores and wait for each other; use --threads {cores}",
        )
    if threads > 1 and threads + load > cores + FOREIGN_CORES:
        return Caveat(
            code="oversubscribed",
            message=f"{threads} threads and other processes share {cores} cores and wait for each other; "
            "use fewer threads",
        )
    return None


def _coarse_clock(record: Record) -> Caveat | None:
    resolution = record.environment.clock_resolution
    coarse = []
    for phase in record.measurement.phases:
        medians = [statistics.median(r.samples[phase]) for r in record.measurement.replicates if r.samples.get(phase)]
        if medians and statistics.median(medians) < CLOCK_STEPS * resolution:
            coarse.append(phase)
    if not coarse:
        return None
    return Caveat(
        code="coarse-clock",
        message=f"{', '.join(coarse)} take less than {CLOCK_STEPS} steps of the clock ({resolution:.2g} s): "
        "read the whole step",
    )


def _unsettled(replicates: Sequence[Replicate]) -> Caveat | None:
    unsettled = sum(not replicate.settled for replicate in replicates)
    if unsettled <= UNSETTLED_SHARE * len(replicates):
        return None
    return Caveat(
        code="unsettled",
        message=f"{unsettled} of {len(replicates)} warm-ups ended by time before two windows of steps agreed: "
        "give a larger --budget",
    )


def _sum(replicates: Sequence[Replicate]) -> Caveat | None:
    """Compares phased steps, whose parts add up exactly, with plain ones, replicate by replicate."""
    logs = []
    for replicate in replicates:
        parts = [replicate.samples[name] for name in SEGMENTS if replicate.samples.get(name)]
        if parts and replicate.samples.get(STEP):
            phased = statistics.median(map(sum, zip(*parts, strict=False)))
            logs.append((replicate.worker, math.log(max(phased, 1e-9)) - log_median(replicate, STEP)))
    if len(logs) < 2:
        return None
    center, half = interval(logs)
    bound = math.log1p(SUM_TOLERANCE)
    if half is None or abs(center) - half <= bound:
        return None
    return Caveat(
        code="phases-do-not-add-up",
        message=f"zero_grad and phases differ from the plain step by {100 * math.expm1(center):+.1f} %: work of one "
        "phase runs on into the next, or waiting at the phase edges costs time; trust the step",
    )


def _logs(replicate: Replicate, metric: str) -> Array:
    logs: Array = np.log(np.maximum(np.asarray(replicate.samples[metric]), 1e-9))
    return logs


def _median_load(replicates: Sequence[Replicate]) -> float | None:
    loads = [replicate.foreign_load for replicate in replicates if replicate.foreign_load is not None]
    return statistics.median(loads) if loads else None
