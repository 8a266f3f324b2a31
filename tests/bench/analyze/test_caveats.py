from __future__ import annotations

import numpy as np
import pytest

from bench.analyze.caveats import best_split, derive, kendall_p


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


def test_two_speeds_are_found_within_and_between_replicates(replicate, record):
    generator = np.random.default_rng(0)
    mixed = [
        replicate(
            1e-3 * generator.lognormal(0, 0.03, 40) * generator.choice([1, 2], 40, p=[0.7, 0.3]), worker=n, round_=n
        )
        for n in range(5)
    ]
    between = [replicate(1e-3 * (1 + n % 2) * generator.lognormal(0, 0.03, 40), worker=n, round_=n) for n in range(6)]
    for rows in (mixed, between):
        (caveat,) = derive(record(rows))
        assert caveat.code == "two-speeds"
        assert "2.0 times as slow" in caveat.message


@pytest.mark.parametrize(
    "draw",
    [
        lambda g, n: g.normal(0, 0.05, n),
        lambda g, n: g.normal(0, 0.5, n),
        lambda g, n: np.log(g.gamma(2.0, 1.0, n)),
        lambda g, n: np.log1p(0.3 * g.exponential(1.0, n)),
        lambda g, n: g.uniform(0, 1, n),
        lambda g, n: 0.02 * g.standard_t(3, n),
        lambda g, n: np.linspace(0, 1, n) + g.normal(0, 0.05, n),
    ],
)
@pytest.mark.parametrize("count", [30, 60, 400])
def test_one_speed_is_called_two_in_less_than_one_of_a_hundred(draw, count):
    generator = np.random.default_rng(1)
    found = sum(best_split(draw(generator, count)) is not None for _ in range(500))
    assert found < 5


def test_a_split_needs_both_sides_and_a_gap():
    assert best_split(np.array([0.0] * 95 + [1.0] * 5)) is None
    assert best_split(np.array([0.0] * 50 + [0.2] * 50)) is None
    assert best_split(np.zeros(50)) is None
    assert best_split(np.array([0.0, 1.0] * 5)) is None
    share, gap = best_split(np.array([0.0] * 60 + [np.log(1.5)] * 40))
    assert share == pytest.approx(0.4)
    assert gap == pytest.approx(1.5)


def test_drift_is_a_trend_of_some_size(replicate, record):
    def run(steps):
        return record([replicate([t] * 9, worker=n % 5, round_=n) for n, t in enumerate(steps)])

    assert codes(run([1e-3 * 1.02**n for n in range(10)])) == ["drift"]
    assert "slower" in derive(run([1e-3 * 1.02**n for n in range(10)]))[0].message
    assert "faster" in derive(run([1e-3 * 0.98**n for n in range(10)]))[0].message
    assert codes(run([1e-3 * 1.001**n for n in range(10)])) == []
    assert codes(run([1e-3 * (1.1 if n % 2 else 1.0) for n in range(10)])) == []


def test_kendalls_test_is_exact():
    assert kendall_p([1, 2, 3]) == pytest.approx(2 / 6)
    assert kendall_p([3, 2, 1]) == pytest.approx(2 / 6)
    assert kendall_p(list(range(8))) == pytest.approx(2 / 40320)
    assert kendall_p([1, 3, 2]) == pytest.approx(1.0)
    from scipy.stats import kendalltau

    generator = np.random.default_rng(0)
    for _ in range(20):
        values = generator.permutation(9).tolist()
        assert kendall_p(values) == pytest.approx(kendalltau(range(9), values, method="exact").pvalue)


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


def test_a_phase_of_few_clock_steps_is_named(replicate, record):
    (caveat,) = derive(record(steady(replicate), clock_resolution=1e-5))
    assert caveat.code == "coarse-clock"
    assert "forward, backward, optimize" in caveat.message


def test_warm_ups_that_were_cut_off_count_above_a_fifth(replicate, record):
    rows = steady(replicate, count=8)
    for share, expected in ((2, []), (3, ["unsettled"])):
        cut = steady(replicate, count=share, seed=9, settled=False)
        assert codes(record([*rows[: 10 - share], *cut])) == expected


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
