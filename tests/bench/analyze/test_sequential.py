from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analyze.sequential import center, interval, log_capital, log_capitals

sizes = st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=30)
ALPHA = 0.01


def test_on_coin_flips_the_expected_capital_is_one_after_any_number_of_bets():
    """Exactly: the mean over all signs that the same magnitudes could have had."""
    magnitudes = np.array([0.3, 0.002, 0.05, 0.0004, 0.01, 0.02, 0.007, 1e-9, 2.0])
    for count in (1, 4, 9):
        signs = np.array(list(itertools.product((1, -1), repeat=count)))
        capitals = [math.exp(log_capital(row)) for row in signs * magnitudes[:count]]
        assert np.mean(capitals) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.05, 0.01])
def test_looking_after_every_replicate_errs_with_probability_alpha_at_most(alpha):
    """Exactly: the share of all signs of fourteen replicates with which the capital ever reaches 1 / alpha."""
    magnitudes = np.array([0.012, 0.004, 0.009, 0.011, 0.02, 0.006, 0.015, 0.01, 0.008, 0.013, 0.007, 0.01, 0.03, 0.01])
    signs = np.array(list(itertools.product((1, -1), repeat=13)))
    wrong = 0
    for row in signs:
        values = np.append(magnitudes[0], row * magnitudes[1:])  # the other half is its mirror image
        wrong += any(log_capital(values[:look]) >= -math.log(alpha) for look in range(1, 15))
    assert 0 < wrong / len(signs) <= alpha


def noises(generator, kind, count):
    """Noise of second place over first, as bad as machines make it."""
    normal = generator.normal(0, 0.01, count)
    if kind == "heavy tails":
        return generator.standard_t(1.5, count) * 0.01
    if kind == "drift":
        return normal + np.linspace(0, 0.05, count)
    if kind == "autocorrelation":
        for index in range(1, count):
            normal[index] += 0.8 * normal[index - 1]
        return normal
    if kind == "two speeds":
        return normal + 0.37 * (generator.random(count) < 0.4)
    return normal + 0.02  # a bias of the place


@pytest.mark.parametrize("kind", ["heavy tails", "drift", "autocorrelation", "two speeds", "bias"])
@pytest.mark.parametrize("effect", [0.0, 0.02])
def test_intervals_hold_at_all_looks_together_on_any_noise(kind, effect):
    """500 comparisons of 40 replicates, each looked at twenty times; at 5 % fewer than 6 % may ever miss the truth."""
    generator = np.random.default_rng(7)
    missed = 0
    for _ in range(500):
        coins = generator.choice((1, -1), 40)
        values = effect + coins * noises(generator, kind, 40)
        missed += any(log_capital(values[:look], effect) >= -math.log(0.05) for look in range(2, 42, 2))
    assert missed / 500 <= 0.06


def test_a_shift_is_inside_of_the_interval_when_less_than_one_over_alpha_was_won_against_it():
    values = list(np.random.default_rng(3).normal(0.01, 0.01, 40))
    low, high = interval(values, ALPHA)
    for shift in np.linspace(low - 0.01, high + 0.01, 41):
        if min(abs(shift - low), abs(shift - high)) > 1e-4:
            assert (log_capital(values, shift) < -math.log(ALPHA)) == (low < shift < high)


@given(sizes)
def test_swapping_the_sides_swaps_the_result(values):
    swapped = [-value for value in values]
    assert log_capital(swapped) == pytest.approx(log_capital(values), abs=1e-9)
    assert center(swapped) == pytest.approx(-center(values), abs=1e-12)


@given(sizes, st.floats(-0.3, 0.3))
def test_a_constant_factor_moves_estimate_and_evidence(values, factor):
    moved = [value + factor for value in values]
    assert center(moved) == pytest.approx(center(values) + factor, abs=1e-12)
    assert log_capital(moved, factor) == pytest.approx(log_capital(values), abs=1e-6)


@given(st.lists(st.floats(-0.05, 0.05), min_size=14, max_size=60))
def test_an_interval_holds_its_estimate(values):
    bounds = interval(values, ALPHA)
    if bounds is not None:
        assert bounds[0] <= center(values) <= bounds[1]


@given(sizes)
def test_the_capitals_of_all_beginnings_are_those_of_each(values):
    capitals = log_capitals(values)
    assert capitals[-1] == pytest.approx(log_capital(values), abs=1e-9)
    assert capitals[0] == pytest.approx(log_capital(values[:1]), abs=1e-9)


def test_few_replicates_know_nothing():
    assert interval([], ALPHA) is None
    assert interval([0.01] * 5, ALPHA) is None


def test_one_wild_replicate_moves_the_estimate_little_and_does_not_hide_a_change():
    values = [0.02 + 0.004 * (-1) ** index for index in range(30)]
    wild = [*values, -1.5]
    assert center(wild) == pytest.approx(0.02, abs=0.002)
    assert interval(wild, ALPHA)[0] > 0


@pytest.mark.parametrize(("effect", "replicates"), [(0.05, 14), (0.02, 20), (0.01, 40)])
def test_changes_are_found_with_the_replicates_that_half_a_minute_has(effect, replicates):
    """At the share of alpha that a step has in a report of four variants, with 0.8 % of noise."""
    generator = np.random.default_rng(11)
    found = [
        log_capital(generator.normal(math.log1p(effect), 0.008, replicates)) >= -math.log(0.01 / 8) for _ in range(300)
    ]
    assert np.mean(found) >= 0.95


def test_wild_replicates_do_not_hide_that_nothing_has_changed():
    """One replicate in ten is off by 5 % or so, as those of real steps are: a minute's replicates are enough."""
    generator = np.random.default_rng(5)
    inside = 0
    for _ in range(100):
        usual, wild = generator.normal(0, 0.012, 90), generator.normal(0, 0.06, 90)
        bounds = interval(list(np.where(generator.random(90) < 0.1, wild, usual)), 0.005)
        inside += bounds is not None and math.log(0.99) < bounds[0] and bounds[1] < math.log(1.01)
    assert inside >= 90


def test_an_end_of_an_interval_is_the_outermost_shift_that_is_not_refuted():
    generator = np.random.default_rng(9)
    for count in (12, 20, 60):
        values = list(generator.standard_t(2, count) * 0.01)
        bounds = interval(values, ALPHA)
        if bounds is not None:
            for shift in (*np.linspace(-2, bounds[0] - 1e-4, 60), *np.linspace(bounds[1] + 1e-4, 2, 60)):
                assert log_capital(values, shift) >= -math.log(ALPHA)


def test_values_that_are_symmetric_about_nothing_keep_the_last_interval_that_there_was():
    generator = np.random.default_rng(3)
    skewed = np.where(generator.random(400) < 0.7, 0.01, 0.05) + generator.normal(0, 5e-4, 400)
    found = [interval(skewed[:count].tolist(), ALPHA) for count in (40, 80, 200, 400)]
    assert log_capital(skewed, center(skewed)) >= -math.log(ALPHA)
    assert all(bounds is not None and bounds[0] > 0 for bounds in found)
    assert found[-1] == found[-2]
