from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analyze.current import current
from bench.analyze.history import history
from bench.analyze.table import tables
from bench.data.measurement import Counters, Measurement
from bench.data.origin import Origin
from bench.report.history import page
from tests.histories import record, records
from tests.strategies import records as any_records

COMMITS = [f"{number:040x}" for number in range(0xABC0000000, 0xABC0000000 + 20)]
ORDER = {commit: 1_700_000_000 + 3600 * place for place, commit in enumerate(COMMITS)}


def of(found, metric="optimize"):
    return next(series for series in found.series if series.metric == metric)


def made(given, **more):
    return history(given, **{"commits": ORDER, "ordered": "in order", **more})


def test_a_slower_phase_is_a_change_between_two_commits_in_whatever_order_they_were_measured():
    given = records(COMMITS, at=12)
    given = [replace(one, created=f"2026-12-{28 - place:02d}") for place, one in enumerate(given)]
    series = of(made(given[7:] + given[:7]))
    assert [point.commit for point in series.points] == COMMITS
    (change,) = series.changes
    assert (change.before.commit, change.likely.commit, change.after.commit) == (COMMITS[11], COMMITS[12], COMMITS[12])
    assert change.low < 1.1 < change.high
    assert not change.exact


def test_an_exact_metric_changes_wherever_it_differs_and_has_no_interval():
    (change,) = of(made(records(COMMITS, at=12, counted=True)), "optimize.operations").changes
    assert (change.before.value, change.after.value) == (97, 101)
    assert (change.exact, change.low) == (True, None)


def counted(name, values):
    """A record a commit, with one value that another tool measured."""
    return [
        replace(one, measurement=replace(one.measurement, counters=Counters(values={name: value})))
        for one, value in zip(records(COMMITS), values, strict=True)
    ]


@pytest.mark.parametrize("name", ["process_bytes", "tracked"])
def test_a_noisy_value_of_another_tool_has_levels_and_not_a_change_at_each_commit(name):
    noise = np.random.default_rng(1).normal(1, 0.002, len(COMMITS))
    calm, grown = 76.1e6 * noise, 76.1e6 * noise * np.where(np.arange(len(COMMITS)) < 12, 1, 1.1)
    assert of(made(counted(name, calm.tolist())), name).changes == ()
    (change,) = of(made(counted(name, grown.tolist())), name).changes
    assert (change.likely.commit, change.exact) == (COMMITS[12], False)
    assert of(made([*counted(name, [0.0] * len(COMMITS))] * 2), name).levels is None


def test_without_a_repository_the_date_of_the_commit_orders_and_else_that_of_the_measurement():
    given = records(COMMITS)
    assert [point.commit for point in of(made(given[::-1], commits=None)).points] == COMMITS
    origin = Origin(tool="asv", release="2", file="f", sha256="0", benchmark="b", own=True)
    turned = [
        replace(one, origin=replace(origin, committed=f"2026-01-{28 - place:02d}")) for place, one in enumerate(given)
    ]
    assert [point.commit for point in of(made(turned, commits=None)).points] == COMMITS[::-1]


def test_what_has_no_place_is_left_out_and_counted():
    given = records(COMMITS)
    given += [
        record(None, 30, {}), record(COMMITS[0], 31, {}, dirty=True), record("f" * 40, 32, {}),
        record("0" * 10, 33, {}),
    ]  # fmt: skip
    failed = given[3].measurement
    given.append(
        replace(given[3], measurement=Measurement(variant=failed.variant, protocol=failed.protocol, phases=(),
                                                  failure="no"))
    )  # fmt: skip
    found = made(given, since="2023-11-15T00:00:00+00:00")
    # 22:13:20 and 23:13:20 of the day before
    assert found.left_out == {
        "of no commit": 1, "of a tree with uncommitted changes": 1,
        "of a commit that is not on this line of first parents": 2, "failed": 1,
        "older than --since, though changes are looked for in all": 2,
    }  # fmt: skip
    assert len(of(found).points) == 18


@pytest.mark.parametrize(("first", "changes", "levels"), [(10, 1, 2), (12, 1, 1), (14, 0, 1)])
def test_what_is_shown_since_a_moment_is_judged_with_all_that_came_before(first, changes, levels):
    moment = datetime.fromtimestamp(ORDER[COMMITS[first]], UTC).isoformat(timespec="seconds")
    given = records(COMMITS, at=12)
    (whole,) = of(made(given)).changes
    series = of(made(given, since=moment))
    assert [point.commit for point in series.points] == COMMITS[first:]
    assert series.changes == (whole,) * changes
    assert (len(series.levels.levels), series.commits) == (levels, len(COMMITS))
    assert series.levels.levels[-1] == of(made(given)).levels.levels[-1]
    assert [step.index for step in series.levels.steps] == [12 - first] * (levels - 1)
    assert "<rect" in page.picture(series) if changes else "<rect" not in page.picture(series)


def test_a_short_name_of_a_commit_is_that_commit():
    given = [
        replace(one, environment=replace(one.environment, commit=one.environment.commit)) for one in records(COMMITS)
    ]
    unique = [f"{number:02x}{commit[2:]}" for number, commit in enumerate(COMMITS)]
    given = [replace(one, environment=replace(one.environment, commit=name[:10])) for one, name in
             zip(given, unique, strict=True)]  # fmt: skip
    found = made(given, commits={name: place for place, name in enumerate(unique)})
    assert [point.commit for point in of(found).points] == unique


def test_a_commit_that_was_measured_again_is_one_point():
    given = [*records(COMMITS), *records(COMMITS[:1], seed=9)]
    point = of(made(given)).points[0]
    values = [each.measurement.replicates[0].samples["optimize"][0] / 0.999 for each in (given[0], given[-1])]
    assert point.records == 2
    assert point.value == pytest.approx((values[0] * values[1]) ** 0.5, rel=1e-3)


def test_a_file_that_has_grown_counts_once_with_what_it_has_now():
    given = records(COMMITS)
    origin = Origin(tool="asv", release="2", file="f.json", sha256="0", benchmark="b", own=True)
    first = [replace(one, origin=origin) for one in given]
    other = first[0].measurement
    more = tuple(replace(each, worker=each.worker + 2, samples={"step": (0.05,)}) for each in other.replicates)
    grown = replace(first[0], measurement=replace(other, replicates=other.replicates + more), run="later",
                    origin=replace(origin, sha256="1"))  # fmt: skip
    for both in ([*first, grown], [grown, *first]):  # both are equally late: the start of the newest is not known
        found = made(both)
        assert found.left_out == {"of a file that has grown and was read again": 1}
        assert of(found, "step").points[0].records == 1
        assert (
            tables([one for one in both if one.environment.commit == COMMITS[0]])[0]
            .rows[0]
            .summaries["step"]
            .replicates
            == 4
        )
    assert current([first[0], replace(grown, created="2020")]) == [first[0]]
    assert len(current([given[0], replace(given[0])])) == 2  # of no file


def test_machines_versions_and_benchmarks_whose_code_changed_are_series_of_their_own():
    given = records(COMMITS)
    other = [replace(one, environment=replace(one.environment, host="bench-2")) for one in given]
    assert len(made([*given, *other]).groups) == 2
    origin = Origin(tool="asv", release="2", file="f", sha256="0", benchmark="b", own=True)
    changed = [replace(one, origin=replace(origin, version=str(place // 10))) for place, one in enumerate(given)]
    (group,) = made(changed).groups
    assert [len(series.points) for series in group.series if series.metric == "step"] == [10, 10]


def test_a_single_commit_is_no_series():
    assert made(records(COMMITS[:1])).groups == ()


def test_the_largest_change_of_a_time_comes_first_and_exact_ones_last():
    given = records(COMMITS, at=12, counted=True) + [
        replace(one, measurement=replace(one.measurement, variant=replace(one.measurement.variant, model="vit")))
        for one in records(COMMITS, at=8, change=0.3)
    ]
    changes = made(given).changes
    assert changes[0][0].variant.model == "vit"
    assert [change.exact for _, change in changes] == sorted(change.exact for _, change in changes)


def test_a_counter_that_was_zero_changes_without_a_ratio():
    given = records(COMMITS)
    given[5:] = [replace(one, measurement=replace(one.measurement, counters=Counters(values={"optimize.syncs": 2.0})))
                 for one in given[5:]]  # fmt: skip
    given[:5] = [replace(one, measurement=replace(one.measurement, counters=Counters(values={"optimize.syncs": 0.0})))
                 for one in given[:5]]  # fmt: skip
    (change,) = of(made(given), "optimize.syncs").changes
    assert change.ratio is None


def test_beside_a_baseline_of_the_same_run_a_machine_that_becomes_slow_does_not_show():
    """Both rows of a run are slow alike; only what one of them does of itself is a change."""
    slow = np.exp(0.2 * np.random.default_rng(3).normal(size=len(COMMITS)))
    given, rows = records(COMMITS, at=12, noise=0.01), records(COMMITS, noise=0.01, seed=8, variant="resnet20/sgd/none")
    both = [scaled(one, factor) for found in (given, rows) for one, factor in zip(found, slow, strict=True)]
    assert of(made(both)).changes == ()
    found = made(both[: len(given)], baseline="sgd", among=both)
    (change,) = of(found).changes
    assert change.likely.commit == COMMITS[12]
    assert change.low < 1.1 < change.high
    assert of(found).baseline == "sgd"
    assert made(both[len(given) :], baseline="sgd", metrics=["step"]).groups == ()


def scaled(one, factor):
    """A record whose times are all longer by a factor."""
    replicates = tuple(
        replace(
            each, samples={name: tuple(factor * value for value in values) for name, values in each.samples.items()}
        )
        for each in one.measurement.replicates
    )
    return replace(one, measurement=replace(one.measurement, replicates=replicates))


@settings(max_examples=30)
@given(st.lists(any_records, max_size=6), st.booleans())
def test_any_records_make_a_history(given, ordered):
    names = {one.environment.commit: 0 for one in given if one.environment.commit}
    found = history(given, commits=names if ordered else None, ordered="so")
    assert all(len(series.points) >= 2 for series in found.series)
