"""A change of seconds between two sets of replicates, with its interval and its p value."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from bench.analyze.lines import a_step

CONFIDENCE = 0.95


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change in seconds a step, head less base, with its 95 % interval and the p value of no change."""

    seconds: float
    low: float | None
    high: float | None
    p: float


def change(base: Sequence[Sequence[float]], head: Sequence[Sequence[float]], *, paired: bool) -> Change:
    """Returns a change with Student's interval over replicates: paired by step within them, or Welch's.

    Pairs are of steps where every step of both sides took time, else of what a step takes (see `lines.a_step`). A side
    without the line has taken no time for it.
    """
    if paired:
        return _paired(base, head)
    sides = [[a_step(steps) for steps in side if steps] for side in (base, head)]
    if min(map(len, sides)) < 2:
        here = [statistics.fmean(side) if side else 0.0 for side in sides]
        if not sides[0] or not sides[1]:
            return _one_sample([(value if sides[1] else -value) for value in sides[0] or sides[1]])
        return Change(seconds=here[1] - here[0], low=None, high=None, p=1.0)
    if sides[0] == sides[1]:
        # Nothing to test, and no variance to divide by where the values hardly differ.
        return Change(seconds=0.0, low=0.0, high=0.0, p=1.0)
    found = stats.ttest_ind(sides[1], sides[0], equal_var=False)
    low, high = found.confidence_interval(CONFIDENCE)
    return Change(
        seconds=statistics.fmean(sides[1]) - statistics.fmean(sides[0]),
        low=float(low),
        high=float(high),
        p=float(found.pvalue),
    )


def _paired(base: Sequence[Sequence[float]], head: Sequence[Sequence[float]]) -> Change:
    values = []
    for number in range(max(len(base), len(head))):
        before, after = (side[number] if number < len(side) else () for side in (base, head))
        if len(before) == len(after) and min((*before, *after), default=0.0) > 0:
            values.append(statistics.median(now - then for then, now in zip(before, after, strict=True)))
        elif before or after:
            values.append(a_step(after) - a_step(before))
    return _one_sample(values)


def _one_sample(values: Sequence[float]) -> Change:
    center = statistics.fmean(values) if values else 0.0
    if len(values) < 2:
        return Change(seconds=center, low=None, high=None, p=1.0)
    if len(set(values)) == 1:
        return Change(seconds=center, low=center, high=center, p=1.0 if center == 0 else 0.0)
    found = stats.ttest_1samp(values, 0.0)
    low, high = found.confidence_interval(CONFIDENCE)
    return Change(seconds=center, low=float(low), high=float(high), p=float(found.pvalue))
