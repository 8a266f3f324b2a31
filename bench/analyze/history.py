"""From records to series over commits, each with the places where it changed."""

from __future__ import annotations

import bisect
import datetime as dt
import itertools
import statistics
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.analyze import window
from bench.analyze.changepoint import Levels, find_steps
from bench.analyze.current import current
from bench.analyze.ratio import ratio
from bench.analyze.row import Ratio, Summary
from bench.analyze.sample import summarize
from bench.analyze.series import Change, Group, History, Point, Series
from bench.analyze.table import comparable
from bench.data.measurement import Measurement
from bench.data.metric import METRICS, PHASES_OF_RANKS, STEP
from bench.data.record import Record
from bench.data.variant import Variant

DEFAULT_METRICS = (STEP, *PHASES_OF_RANKS, *(name for name, metric in METRICS.items() if not metric.timed))

# Of a commit, as git shows it.
SHORTEST_NAME = 7
# Steps are looked for in logarithms, which a time of zero does not have.
SHORTEST_S = 1e-9


@dataclass(frozen=True, kw_only=True)
class _How:
    """What all series share: the order of commits and their times, what is shown, and what it is related to."""

    position: Mapping[str, int] | None
    commits: Mapping[str, int] | None
    metrics: Sequence[str]
    since: str | None
    baseline: str | None
    options: tuple[str, ...]
    rows: Mapping[tuple[str, Variant], Measurement]


def history(
    records: Sequence[Record],
    *,
    commits: Mapping[str, int] | None,
    ordered: str,
    metrics: Sequence[str] = DEFAULT_METRICS,
    since: str | None = None,
    baseline: str | None = None,
    among: Sequence[Record] = (),
    options: tuple[str, ...] = (),
) -> History:
    """Returns the series of records, in the order of `commits`, which maps each to its time, or else by date.

    Records of a tree with uncommitted changes, of no commit, or of a commit that `commits` does not have are left out
    and counted. Those before `since`, a moment, are judged with the others, and not shown. With a `baseline`, times are
    ratios to that optimizer's row of the same run, paired by worker and round, so that a machine that is slow today
    changes neither; rows are looked for in `records` and `among` others, and what has none has no series of times.
    `options` go to every series.
    """
    reasons: Counter[str] = Counter()
    known = sorted(commits) if commits is not None else []
    groups: dict[Hashable, list[Record]] = {}
    latest = current(records)
    if len(latest) < len(records):
        reasons["of a file that has grown and was read again"] = len(records) - len(latest)
    for record in latest:
        named = _placed(record, known, commits)
        if isinstance(named, str):
            reasons[named] += 1
        else:
            if since is not None and _moment(named, commits) < since:
                reasons["older than --since, though changes are looked for in all"] += 1
            groups.setdefault(comparable(named), []).append(named)
    how = _How(
        position=None if commits is None else {commit: place for place, commit in enumerate(commits)},
        commits=commits,
        metrics=metrics,
        since=since,
        baseline=baseline,
        options=options,
        rows={(one.run, one.measurement.variant): one.measurement for one in (*among, *records)} if baseline else {},
    )
    made = [_group(group, how) for group in groups.values()]
    return History(groups=tuple(group for group in made if group.series), left_out=dict(reasons), ordered=ordered)


def _placed(record: Record, known: Sequence[str], commits: Mapping[str, int] | None) -> Record | str:
    """Returns a record with its whole commit, or the reason why it has no place."""
    commit = record.environment.commit
    if commit is None:
        return "of no commit"
    if record.environment.dirty:
        return "of a tree with uncommitted changes"
    if record.measurement.failure is not None and not record.measurement.replicates:
        return "failed"
    if commits is None or commit in commits:
        return record
    # Other tools store shorter names.
    place = bisect.bisect_left(known, commit)
    meant = [name for name in known[place : place + 2] if name.startswith(commit)]
    if len(commit) >= SHORTEST_NAME and len(meant) == 1:
        return replace(record, environment=replace(record.environment, commit=meant[0]))
    return "of a commit that is not on this line of first parents"


def _moment(record: Record, commits: Mapping[str, int] | None) -> str:
    if commits is not None:
        seconds = commits[str(record.environment.commit)]
        return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
    return (record.origin.committed if record.origin else None) or record.created


def _group(records: Sequence[Record], how: _How) -> Group:
    by_variant: dict[Hashable, list[Record]] = {}
    for record in records:
        # A benchmark whose code has changed is another one.
        version = record.origin.version if record.origin else ""
        by_variant.setdefault((record.measurement.variant, version), []).append(record)
    series = [
        found
        for same in by_variant.values()
        for metric in how.metrics
        if (found := _series(same, metric, how)) is not None
    ]
    last = records[-1]
    return Group(
        environment=last.environment,
        tool=last.origin.tool if last.origin else "stepbench",
        series=tuple(series),
    )


def _series(records: Sequence[Record], metric: str, how: _How) -> Series | None:
    """Returns a series of at least two commits, None where there are fewer; the newest record has the last word."""
    exact = METRICS[metric].noise == "exact"
    by_commit: dict[str, list[tuple[float, float | None, float | None, str]]] = {}
    for record in records:
        value = _value(record, metric, how)
        if value is not None:
            by_commit.setdefault(str(record.environment.commit), []).append((*value, _moment(record, how.commits)))
    if len(by_commit) < 2:
        return None
    points = [_point(commit, values, exact=exact) for commit, values in by_commit.items()]
    points.sort(key=lambda point: point.moment if how.position is None else how.position[point.commit])
    # Steps are ratios, which values of zero or below do not have.
    judged = not exact and all(point.value > 0 for point in points)
    levels = find_steps([point.value for point in points]) if judged else None
    last = records[-1]
    whole = Series(
        variant=last.measurement.variant,
        origin=last.origin,
        metric=metric,
        protocol=last.measurement.protocol,
        points=tuple(points),
        commits=len(points),
        levels=levels,
        changes=_facts(points) if exact else _steps(points, levels) if levels is not None else (),
        baseline=how.baseline if METRICS[metric].timed else None,
        options=how.options,
    )
    return whole if how.since is None else window.since(whole, how.since)


def _value(record: Record, metric: str, how: _How) -> tuple[float, float | None, float | None] | None:
    measurement = record.measurement
    if not METRICS[metric].timed:
        value = measurement.counters.values.get(metric)
        return None if value is None else (value, None, None)
    if how.baseline is None:
        found: Summary | Ratio | None = summarize(measurement.replicates, metric)
    else:
        row = how.rows.get((record.run, replace(measurement.variant, optimizer=how.baseline)))
        found = None if row is None or row == measurement else ratio(measurement, row, metric)
    return None if found is None else (max(found.center, SHORTEST_S), found.low, found.high)


def _point(commit: str, values: Sequence[tuple[float, float | None, float | None, str]], *, exact: bool) -> Point:
    value, low, high, moment = values[-1]
    if len(values) > 1 and not exact:
        # Each is a run of its own, as good as the others.
        given = [one[0] for one in values]
        mean = statistics.geometric_mean(given) if min(given) > 0 else statistics.fmean(given)
        value, low, high = mean, None, None
    return Point(commit=commit, moment=moment, value=value, low=low, high=high, records=len(values))


def _steps(points: Sequence[Point], levels: Levels) -> tuple[Change, ...]:
    return tuple(
        Change(
            before=points[step.earliest - 1],
            likely=points[step.index],
            after=points[step.latest],
            ratio=step.ratio,
            low=step.low,
            high=step.high,
            exact=False,
        )
        for step in levels.steps
    )


def _facts(points: Sequence[Point]) -> tuple[Change, ...]:
    return tuple(
        Change(
            before=before, likely=after, after=after, low=None, high=None, exact=True,
            ratio=after.value / before.value if before.value > 0 and after.value > 0 else None,
        )
        for before, after in itertools.pairwise(points)
        if before.value != after.value
    )  # fmt: skip
