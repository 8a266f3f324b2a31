from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analyze.sample import Value, interval, summarize

times = st.floats(1e-6, 1e3)
sides = st.lists(st.tuples(st.integers(0, 4), st.lists(times, min_size=1, max_size=5)), min_size=1, max_size=8)


def test_a_summary_is_the_median_of_medians_with_the_spread_of_workers(replicate):
    rows = [replicate([1.0, 9.0, 1.0], worker=0), replicate([4.0], worker=0, round_=1), replicate([2.0, 2.0], worker=1)]
    summary = summarize(rows, "step")
    # Worker 0: log mean of medians 1 and 4 is log 2; worker 1: log 2. No spread of workers, but one of time.
    assert summary.center == pytest.approx(2.0)
    assert summary.low < 2.0 < summary.high
    assert (summary.samples, summary.replicates, summary.workers) == (6, 3, 2)


def test_the_interval_is_students_over_workers():
    # t(0.975, 2) = 4.3027, s = 1, n = 3
    center, half = interval(map(Value._make, [(0, 0, 1.0), (1, 1, 2.0), (2, 2, 3.0)]))
    assert center == 2.0
    assert half == pytest.approx(4.3026527 / math.sqrt(3))


def test_one_worker_is_spread_over_its_replicates_and_one_value_has_no_interval():
    values = [Value(0, index, value) for index, value in enumerate((1.0, 2.0, 3.0))]
    assert interval(values)[1] == pytest.approx(4.3026527 / math.sqrt(3))
    assert interval(values[:1]) == (1.0, None)


def test_a_metric_that_was_not_measured_has_no_summary(replicate):
    assert summarize([replicate([1.0])], "no-such") is None
    assert summarize([], "step") is None


def test_a_clock_that_stood_still_is_a_nanosecond_and_not_an_error(replicate):
    assert summarize([replicate([0.0, 0.0])], "step").center == pytest.approx(1e-9)


def build(replicate, side, scale=1.0):
    return [replicate([scale * t for t in steps], worker=worker, round_=n) for n, (worker, steps) in enumerate(side)]


@given(side=sides, scale=st.floats(1e-2, 1e2), order=st.randoms())
def test_scaling_scales_and_order_does_not_matter(replicate, side, scale, order):
    rows = build(replicate, side)
    plain = summarize(rows, "step")
    scaled = summarize(build(replicate, side, scale), "step")
    order.shuffle(rows)
    shuffled = summarize(rows, "step")
    for name in ("center", "low", "high"):
        value = getattr(plain, name)
        if value is not None and value < 1e300:
            assert getattr(scaled, name) == pytest.approx(scale * value, rel=1e-6)
            assert getattr(shuffled, name) == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("between", [0.01, 0.08])
def test_intervals_cover_the_truth_of_simulated_measurements(between):
    """Five workers with a bias of their own, two rounds, 20 heavy-tailed samples each: at least 94 of 100 cover."""
    generator = np.random.default_rng(0)
    covered, simulations = 0, 3000
    # The expected median of 20 such samples, which is what replicates estimate.
    truth = float(np.mean(np.median(np.log1p(0.05 * generator.exponential(1.0, (20_000, 20))), axis=1)))
    for _ in range(simulations):
        bias = generator.normal(0, between, 5)
        noise = np.log1p(0.05 * generator.exponential(1.0, (5, 2, 20)))
        medians = np.median(noise, axis=2) + bias[:, None]
        center, half = interval(Value(w, 5 * r + w, medians[w, r]) for w in range(5) for r in range(2))
        covered += abs(center - truth) <= half
    assert covered / simulations >= 0.94


def test_a_machine_that_changes_its_speed_biases_all_workers_alike_and_widens_the_interval():
    """Both rounds of each worker average the same: only the time shows the change."""
    rounds = [*range(5), *range(5, 10)]
    values = [Value(at % 5, at, 0.01 * (at % 5) + (0.4 if at >= 5 else 0.0)) for at in rounds]
    same = [Value(value.worker, value.round, 0.01 * value.worker + 0.2) for value in values]
    assert interval(values)[0] == pytest.approx(interval(same)[0])
    assert interval(values)[1] > 5 * interval(same)[1]


def test_an_interval_reaches_from_one_speed_to_the_other(replicate):
    fast, slow = [1.0, 1.01, 0.99, 1.0], [1.5, 1.49, 1.51, 1.5]
    rows = [replicate(fast if at % 3 else slow, worker=at % 3, round_=at) for at in range(6)]
    rows += [replicate(slow if at % 3 else fast, worker=at % 3, round_=at) for at in range(6, 12)]
    summary = summarize(rows, "step")
    assert summary.low <= 1.001
    assert summary.high >= 1.499
