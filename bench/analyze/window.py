"""The newest part of a series, with what is known from the whole of it."""

from __future__ import annotations

from dataclasses import replace

from bench.analyze.changepoint import Levels
from bench.analyze.series import Series


def since(series: Series, moment: str) -> Series | None:
    """Returns what a series has from a moment on, None where it has nothing.

    Levels and changes stay those of the whole series: fewer values tell less. A change is part of it if it was there
    at one of the commits that are left at the latest; the commit before it may be older.
    """
    first = next((place for place, point in enumerate(series.points) if point.moment >= moment), None)
    if first is None:
        return None
    points = series.points[first:]
    left = {point.commit for point in points}
    return replace(
        series,
        points=points,
        levels=None if series.levels is None else _levels(series.levels, first),
        changes=tuple(change for change in series.changes if change.after.commit in left),
    )


def _levels(levels: Levels, first: int) -> Levels:
    gone = sum(step.index <= first for step in levels.steps)
    steps = tuple(
        replace(
            step,
            index=step.index - first,
            earliest=max(step.earliest - first, 0),
            latest=max(step.latest - first, 0),
        )
        for step in levels.steps[gone:]
    )
    return replace(levels, steps=steps, levels=levels.levels[gone:])
