from __future__ import annotations

import numpy as np
import pytest

from bench.analyze.speeds import best_split, two_speeds

ONE_SPEED = {
    "normal": lambda g, n: g.normal(0, 0.05, n),
    "wide": lambda g, n: g.normal(0, 0.5, n),
    "gamma": lambda g, n: np.log(g.gamma(2.0, 1.0, n)),
    "exponential": lambda g, n: np.log1p(0.3 * g.exponential(1.0, n)),
    "uniform": lambda g, n: g.uniform(0, 1, n),
    "heavy tail": lambda g, n: 0.02 * g.standard_t(3, n),
    "pauses": lambda g, n: g.normal(0, 0.03, n) + 2 * (g.random(n) < 0.03),
    "drift": lambda g, n: np.linspace(0, 1, n) + g.normal(0, 0.05, n),
}


@pytest.mark.parametrize("draw", ONE_SPEED.values(), ids=ONE_SPEED.keys())
@pytest.mark.parametrize("count", [30, 60, 400])
def test_one_speed_is_called_two_in_less_than_one_of_a_hundred(draw, count):
    generator = np.random.default_rng(1)
    found = sum(best_split(draw(generator, count)) is not None for _ in range(500))
    assert found < 5


@pytest.mark.parametrize("between", [0.02, 0.08, 0.2, 0.44])
def test_workers_with_a_bias_of_their_own_are_called_two_speeds_in_less_than_one_of_a_hundred(between):
    """Five workers, two rounds; 0.44 is the spread of processes on a machine that was loaded with six others."""
    generator = np.random.default_rng(2)
    found = 0
    for _ in range(500):
        bias = generator.normal(0, between, (5, 1, 1)) + generator.normal(0, 0.02, (5, 2, 1))
        found += two_speeds(list((bias + generator.normal(0, 0.03, (5, 2, 30))).reshape(5, 60))) is not None
    assert found < 5


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_two_speeds_are_found_nearly_always(share):
    generator = np.random.default_rng(3)
    found = 0
    for _ in range(200):
        bias = generator.normal(0, 0.05, (5, 1))
        slow = generator.random((5, 60)) < share
        found += two_speeds(list(bias + generator.normal(0, 0.03, (5, 60)) + 0.6 * slow)) is not None
    assert found >= 190


def test_a_split_needs_both_sides_a_gap_and_samples():
    assert best_split(np.array([0.0] * 95 + [1.0] * 5)) is None
    assert best_split(np.array([0.0] * 50 + [0.2] * 50)) is None
    assert best_split(np.zeros(50)) is None
    assert best_split(np.array([0.0, 1.0] * 5)) is None
    assert two_speeds([]) is None


def test_a_split_says_where_it_cuts():
    split = best_split(np.array([0.0] * 60 + [np.log(1.5)] * 40))
    assert split.cut == pytest.approx(np.log(1.5))
    assert split.share == pytest.approx(0.4)
    assert split.ratio == pytest.approx(1.5)


def test_one_worker_that_saw_both_is_enough_and_needed():
    slow, fast, both = np.ones(30), np.zeros(30), np.repeat([0.0, 1.0], 15)
    assert two_speeds([slow, fast, both]).ratio == pytest.approx(np.e)
    assert two_speeds([slow, fast]) is None
