from __future__ import annotations

import numpy as np
from hypothesis import given, settings

from bench.analyze.caveats import derive
from tests.strategies import records


def codes(record):
    return [caveat.code for caveat in derive(record)]


def steady(replicate, count=10, samples=30, seed=0, scale=1e-3, **more):
    generator = np.random.default_rng(seed)
    return [
        replicate(scale * generator.lognormal(0, 0.03, samples), worker=n % 5, round_=n, **more) for n in range(count)
    ]


def test_a_quiet_run_has_no_caveats(replicate, record):
    for seed in range(20):
        assert codes(record(steady(replicate, seed=seed))) == []
    assert codes(record([])) == []


def test_two_speeds_are_found_within_replicates_and_between_those_of_a_worker(replicate, record):
    generator = np.random.default_rng(0)
    mixed = [
        replicate(
            1e-3 * generator.lognormal(0, 0.03, 40) * generator.choice([1, 2], 40, p=[0.7, 0.3]), worker=n, round_=n
        )
        for n in range(5)
    ]
    between = [
        replicate(1e-3 * (1 + n % 2) * generator.lognormal(0, 0.03, 40), worker=n // 2, round_=n) for n in range(6)
    ]
    for rows in (mixed, between):
        (caveat,) = derive(record(rows))
        assert caveat.code == "two-speeds"
        assert "2.0 times as slow" in caveat.message


def test_workers_that_differ_are_no_two_speeds(replicate, record):
    """The interval, whose unit is the worker, shows that already."""
    rows = [replicate([1e-3 * (1 + n % 2)] * 40, worker=n, round_=n) for n in range(6)]
    assert codes(record(rows)) == []


def test_drift_is_a_trend_of_some_size(replicate, record):
    def run(steps):
        return record([replicate([t] * 9, worker=n % 5, round_=n) for n, t in enumerate(steps)])

    assert codes(run([1e-3 * 1.02**n for n in range(10)])) == ["drift"]
    assert "slower" in derive(run([1e-3 * 1.02**n for n in range(10)]))[0].message
    assert "faster" in derive(run([1e-3 * 0.98**n for n in range(10)]))[0].message
    assert codes(run([1e-3 * 1.001**n for n in range(10)])) == []
    assert codes(run([1e-3 * (1.1 if n % 2 else 1.0) for n in range(10)])) == []


def test_load_by_others_is_the_median_over_replicates(replicate, record):
    loaded = steady(replicate, foreign_load=0.7)
    assert codes(record(loaded)) == ["foreign-load"]
    one = [*steady(replicate, count=9), *steady(replicate, count=1, foreign_load=2.0)]
    assert codes(record(one)) == []
    assert codes(record(steady(replicate, foreign_load=None))) == []


def test_more_threads_than_cores_are_named(replicate, record):
    rows = steady(replicate)
    assert codes(record(rows, "m/sgd/none@threads=3")) == ["oversubscribed"]
    assert codes(record(rows, "m/sgd/none@threads=2")) == []
    busy = steady(replicate, foreign_load=0.5)
    assert codes(record(busy, "m/sgd/none@threads=2")) == ["foreign-load", "oversubscribed"]


def test_ranks_use_the_cores_of_all_their_threads(replicate, record):
    rows = steady(replicate)
    assert codes(record(rows, "m/sgd/none@ranks=2")) == []
    (caveat,) = derive(record(rows, "m/sgd/none@ranks=2,threads=2"))
    assert caveat.code == "oversubscribed"
    assert caveat.message.startswith("the 4 thread(s) of 2 ranks share 2 cores")
    assert caveat.message.endswith("use fewer ranks or threads")


def test_a_phase_of_few_clock_steps_is_named(replicate, record):
    (caveat,) = derive(record(steady(replicate), clock_resolution=1e-5))
    assert caveat.code == "coarse-clock"
    assert "forward, backward, optimize" in caveat.message


def test_warm_ups_that_were_cut_off_count_above_a_fifth(replicate, record):
    rows = steady(replicate, count=8)
    for share, expected in ((2, []), (3, ["unsettled"])):
        cut = steady(replicate, count=share, seed=9, settled=False)
        assert codes(record([*rows[: 10 - share], *cut])) == expected


def test_an_interval_over_the_replicates_of_one_worker_says_so(replicate, record):
    rows = [replicate([1e-3] * 9, worker=3, round_=n) for n in range(2)]
    assert codes(record(rows)) == ["one-worker"]
    assert codes(record(rows[:1])) == []


def test_replicates_without_plain_steps_are_passed_over(replicate, record):
    """A specimen that breaks half-way leaves replicates without samples."""
    broken = [replicate([], worker=n) for n in range(2)]
    assert codes(record(broken)) == []
    assert codes(record([*steady(replicate), *broken])) == []


@settings(max_examples=50)
@given(records)
def test_every_caveat_of_any_record_is_one_line_with_a_code_of_its_own(record):
    found = derive(record)
    assert len({caveat.code for caveat in found}) == len(found)
    assert all(caveat.message and "\n" not in caveat.message for caveat in found)


def test_phases_that_do_not_add_up_are_named_when_it_is_beyond_doubt(replicate, record):
    def run(factor, noise=0.0):
        generator = np.random.default_rng(0)
        rows = []
        for n in range(10):
            steps = 1e-3 * generator.lognormal(0, 0.01, 20)
            f = factor * generator.lognormal(0, noise)
            rows.append(
                replicate(steps, worker=n % 5, round_=n, samples={"forward": tuple((0.3 + f - 1) * s for s in steps)})
            )
        return record(rows)

    assert codes(run(1.10)) == ["phases-do-not-add-up"]
    assert "+10.0 %" in derive(run(1.10))[0].message
    assert codes(run(0.9)) == ["phases-do-not-add-up"]
    assert codes(run(1.01)) == []
    assert codes(run(1.05, noise=0.15)) == []
