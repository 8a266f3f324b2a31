"""Nouns of a history: points, changes and series over commits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench.analyze.changepoint import Levels
from bench.data.environment import Environment
from bench.data.origin import Origin
from bench.data.protocol import Protocol
from bench.data.variant import Variant


@dataclass(frozen=True, kw_only=True)
class Point:
    """What is known of one commit: the median of its records' values, and the interval of a single one.

    `moment` is when the commit was made where that is known, else when it was measured; UTC in ISO 8601.
    """

    commit: str
    moment: str
    value: float
    low: float | None
    high: float | None
    records: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change between two commits that were measured: after `before`, and at `after` at the latest.

    `likely` is the first commit of the new level as the series looks. `ratio` is new over old with its 95 % interval;
    an exact metric has its two values instead of noise, and no interval; its ratio is None where it was zero.
    """

    before: Point
    likely: Point
    after: Point
    ratio: float | None
    low: float | None
    high: float | None
    exact: bool

    @property
    def size(self) -> float:
        """How large it is beside others: the logarithm of the ratio, either way."""
        return math.inf if not self.ratio else abs(math.log(self.ratio))


@dataclass(frozen=True, kw_only=True)
class Series:
    """One metric of one variant over commits.

    `levels` is None for an exact metric, whose every change is one, and for noisy values of zero and below.
    `commits` is how many were judged, of which `points` may be the newest part. With a `baseline` values are ratios to
    that optimizer's row of the same run, else in the metric's unit. `options` are those with which `stepbench compare`
    finds the repository and the parts here.
    """

    variant: Variant
    origin: Origin | None
    metric: str
    protocol: Protocol
    points: tuple[Point, ...]
    commits: int
    levels: Levels | None
    changes: tuple[Change, ...]
    baseline: str | None = None
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The variant's id, or what the tool that measured it calls it."""
        return str(self.variant) if self.origin is None or self.origin.own else str(self.origin)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Series that one machine, in one software environment, has measured."""

    environment: Environment
    tool: str
    series: tuple[Series, ...]


@dataclass(frozen=True, kw_only=True)
class History:
    """All series, and how many records are in none, by reason; `ordered` says what put the commits in order."""

    groups: tuple[Group, ...]
    left_out: Mapping[str, int]
    ordered: str

    @property
    def series(self) -> tuple[Series, ...]:
        """The series of all groups."""
        return tuple(series for group in self.groups for series in group.series)

    @property
    def changes(self) -> list[tuple[Series, Change]]:
        """All changes, those of times before those of exact metrics, the largest first."""
        found = [(series, change) for series in self.series for change in series.changes]
        return sorted(found, key=lambda one: (one[1].exact, -one[1].size))
