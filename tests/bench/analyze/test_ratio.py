from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analyze.ratio import ratio

PAIRS = [(n % 5, n) for n in range(10)]
times = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=5)
sides = st.lists(st.tuples(times, times), min_size=1, max_size=8)


@pytest.fixture(scope="session")
def measured(replicate, record):
    """Makes a measurement of (worker, round, steps)."""
    return lambda rows: record([replicate(steps, worker=w, round_=r) for w, r, steps in rows]).measurement


@given(side=sides, scale=st.floats(1e-2, 1e2))
def test_scaling_both_leaves_it_and_scaling_one_scales_it(measured, side, scale):
    def built(column, factor=1.0):
        return measured([(n % 3, n, [factor * t for t in pair[column]]) for n, pair in enumerate(side)])

    plain = ratio(built(0), built(1), "step")
    both = ratio(built(0, scale), built(1, scale), "step")
    one = ratio(built(0, scale), built(1), "step")
    for name in ("center", "low", "high"):
        value = getattr(plain, name)
        if value is not None:
            assert getattr(both, name) == pytest.approx(value, rel=1e-6)
            assert getattr(one, name) == pytest.approx(scale * value, rel=1e-6)


@given(side=sides)
def test_the_ratio_of_exchanged_sides_is_the_inverse(measured, side):
    first, second = (measured([(n % 3, n, pair[column]) for n, pair in enumerate(side)]) for column in (0, 1))
    there, back = ratio(first, second, "step"), ratio(second, first, "step")
    assert there.center == pytest.approx(1 / back.center, rel=1e-6)
    if there.low is not None:
        assert there.low == pytest.approx(1 / back.high, rel=1e-6)


@given(side=sides)
def test_the_ratio_to_itself_is_one_without_doubt(measured, side):
    measurement = measured([(n % 3, n, pair[0]) for n, pair in enumerate(side)])
    found = ratio(measurement, measurement, "step")
    assert found.center == 1.0
    assert found.low in (1.0, None)
    assert found.high in (1.0, None)


def test_a_ratio_is_formed_of_pairs_only(measured):
    ours = measured([(0, 0, [2.0]), (1, 1, [6.0]), (2, 2, [99.0])])
    theirs = measured([(0, 0, [1.0]), (1, 1, [3.0]), (3, 3, [1.0])])
    found = ratio(ours, theirs, "step")
    assert found.pairs == 2
    assert found.center == pytest.approx(2.0)
    assert (found.low, found.high) == (pytest.approx(2.0), pytest.approx(2.0))


def test_one_pair_has_no_interval_and_none_no_ratio(measured):
    ours, theirs = measured([(0, 0, [2.0]), (1, 1, [6.0])]), measured([(0, 0, [1.0]), (1, 2, [3.0])])
    found = ratio(ours, theirs, "step")
    assert (found.center, found.low, found.high, found.pairs) == (pytest.approx(2.0), None, None, 1)
    assert ratio(measured([(9, 9, [1.0])]), theirs, "step") is None
    assert ratio(ours, theirs, "no-such") is None


def test_what_slows_both_of_a_pair_falls_out(measured):
    """Minutes and processes differ by a factor of two; what the ratio is off by stays below one in a hundred."""
    generator = np.random.default_rng(0)
    weather = generator.lognormal(0, 0.7, 10)
    rows = [
        [(w, r, factor * weather[r] * generator.lognormal(0, 0.005, 20)) for w, r in PAIRS] for factor in (1.3e-3, 1e-3)
    ]
    found = ratio(*map(measured, rows), "step")
    assert found.low < 1.3 < found.high
    assert found.high / found.low < 1.01


def test_intervals_of_equal_variants_exclude_one_in_about_five_of_a_hundred(measured):
    generator = np.random.default_rng(1)
    wrong = 0
    for _ in range(400):
        bias = generator.normal(0, 0.05, (2, 5))
        sides = (
            measured([(w, r, np.exp(generator.normal(bias[side, w], 0.03, 3))) for w, r in PAIRS]) for side in (0, 1)
        )
        found = ratio(*sides, "step")
        wrong += not found.low <= 1 <= found.high
    # 20 expected, standard deviation 4.4
    assert 5 <= wrong <= 33
