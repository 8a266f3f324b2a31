"""Paired ratios: replicates of two variants taken by the same worker in the same round."""

from __future__ import annotations

import math

from bench.analyze.row import Ratio
from bench.analyze.sample import Value, interval, log_median
from bench.data.measurement import Measurement


def ratio(measurement: Measurement, baseline: Measurement, metric: str) -> Ratio | None:
    """Returns how many times the baseline's time a variant takes, with a 95 % interval; None without a pair.

    A pair shares its process and its minute, so that what is slow about either falls out of the ratio. The interval
    is that of the mean log ratio, with the worker as the unit (see sample.interval).
    """
    ours, theirs = (
        {(r.worker, r.round): log_median(r, metric) for r in side.replicates if r.samples.get(metric)}
        for side in (measurement, baseline)
    )
    pairs = [Value(*key, value - theirs[key]) for key, value in ours.items() if key in theirs]
    if not pairs:
        return None
    center, half = interval(pairs)
    return Ratio(
        center=math.exp(center),
        low=None if half is None else math.exp(center - half),
        high=None if half is None else math.exp(center + half),
        pairs=len(pairs),
        baseline=baseline.variant,
    )
