"""What samples say against themselves: two speeds, drift, foreign load, a coarse clock, phases that do not add up."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from bench.analyze.sample import Value, by_worker, interval, log_median
from bench.analyze.speeds import two_speeds
from bench.analyze.trend import kendall_p
from bench.data.measurement import Caveat, Replicate
from bench.data.metric import SEGMENTS, STEP
from bench.data.record import Record

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
        _one_worker(replicates),
        _sum(replicates),
    )
    return tuple(caveat for caveat in found if caveat is not None)


def _two_speeds(replicates: Sequence[Replicate]) -> Caveat | None:
    split = two_speeds(by_worker(replicates, STEP))
    if split is None:
        return None
    return Caveat(
        code="two-speeds",
        message=f"steps run at two speeds, {100 * split.share:.0f} % of them {split.ratio:.1f} times as slow as the "
        "rest, and a median shows one of them: look for threads that wait for each other (fewer threads), a changing "
        "frequency, or a neighbor on the same core",
    )


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
    variant, cores = record.measurement.variant, record.environment.cores
    threads = variant.threads * variant.ranks
    busy = f"{threads} threads" if variant.ranks == 1 else f"the {threads} thread(s) of {variant.ranks} ranks"
    load = _median_load(record.measurement.replicates) or 0.0
    if not cores:
        return None  # another tool measured, and did not say how many there were
    if threads > cores:
        return Caveat(
            code="oversubscribed",
            message=f"{busy} share {cores} cores and wait for each other; "
            + (f"use --threads {cores}" if variant.ranks == 1 else "use fewer ranks or threads"),
        )
    if threads > 1 and threads + load > cores + FOREIGN_CORES:
        return Caveat(
            code="oversubscribed",
            message=f"{busy} and other processes share {cores} cores and wait for each other; use fewer threads",
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


def _one_worker(replicates: Sequence[Replicate]) -> Caveat | None:
    if len(replicates) < 2 or len({replicate.worker for replicate in replicates}) > 1:
        return None
    return Caveat(
        code="one-worker",
        message="all replicates come from one process, and intervals leave out the several percent by which one "
        "process differs from the next: measure with `--workers 5`",
    )


def _sum(replicates: Sequence[Replicate]) -> Caveat | None:
    """Compares phased steps, whose parts add up exactly, with plain ones, replicate by replicate."""
    logs = []
    for replicate in replicates:
        parts = [replicate.samples[name] for name in SEGMENTS if replicate.samples.get(name)]
        if parts and replicate.samples.get(STEP):
            phased = statistics.median(map(sum, zip(*parts, strict=False)))
            log = math.log(max(phased, 1e-9)) - log_median(replicate, STEP)
            logs.append(Value(replicate.worker, replicate.round, log))
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


def _median_load(replicates: Sequence[Replicate]) -> float | None:
    loads = [replicate.foreign_load for replicate in replicates if replicate.foreign_load is not None]
    return statistics.median(loads) if loads else None
