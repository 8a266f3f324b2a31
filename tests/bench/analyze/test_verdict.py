from __future__ import annotations

import math

import numpy as np
import pytest

from bench.analyze.verdict import Rule, judge
from bench.errors import InvalidOption

ALPHA = 0.01


def ratios(effect, noise=0.004, count=40, seed=0):
    values = np.random.default_rng(seed).normal(0, noise, count)
    return list(math.log1p(effect) + values - np.median(values))


@pytest.mark.parametrize(
    ("effect", "noise", "count", "word"),
    [
        (0.02, 0.004, 40, "slower"),
        (-0.02, 0.004, 40, "faster"),
        (0.0, 0.004, 40, "equivalent"),
        (0.0, 0.03, 40, "inconclusive"),
        (0.03, 0.004, 6, "inconclusive"),
        (0.009, 0.018, 20, "inconclusive"),
    ],
)
def test_each_word_has_its_case(effect, noise, count, word):
    verdict = judge(ratios(effect, noise, count), Rule(), ALPHA)
    assert verdict.word == word
    assert verdict.stands is (word != "inconclusive")
    assert verdict.replicates == count


def test_a_real_change_below_the_threshold_is_equivalent_and_said_so():
    verdict = judge(ratios(0.003, 0.002, 60), Rule(), ALPHA)
    assert verdict.word == "equivalent"
    assert verdict.low > 1
    assert verdict.note == "a real change below the threshold of 0.5 %"


def test_a_change_inside_of_the_margin_is_slower_and_said_so():
    verdict = judge(ratios(0.007, 0.002, 80), Rule(), ALPHA)
    assert (verdict.word, verdict.note) == ("slower", "real, and within the margin of 1 %")


def test_a_change_known_from_the_whole_report_needs_no_interval_of_its_own():
    values = ratios(0.009, 0.018, 20)
    assert judge(values, Rule(), ALPHA).word == "inconclusive"
    found = judge(values, Rule(), ALPHA, changed=True)
    assert found.word == "slower"
    # No word that its own interval contradicts.
    assert found.low == 1 < found.ratio < found.high
    mirrored = judge([-value for value in values], Rule(), ALPHA, changed=True)
    assert (mirrored.word, mirrored.high) == ("faster", 1)


def test_nothing_below_the_threshold_could_have_been_seen():
    assert judge(ratios(0.0, 0.0001, 200), Rule(), ALPHA).detectable == Rule().threshold


def test_what_could_have_been_seen_shrinks_with_replicates_and_is_unknown_for_few():
    few, some, many = (judge(ratios(0.0, 0.01, count), Rule(), ALPHA).detectable for count in (5, 20, 80))
    assert few is None
    assert some > many > 0


def test_a_change_as_large_as_detectable_is_found_nine_times_in_ten():
    size = np.median([judge(ratios(0.0, 0.01, 40, seed), Rule(), ALPHA).detectable for seed in range(20)])
    generator = np.random.default_rng(2)
    found = [judge(list(generator.normal(math.log1p(size), 0.01, 40)), Rule(), ALPHA).low > 1 for _ in range(200)]
    assert 0.8 < np.mean(found) <= 1.0


@pytest.mark.parametrize(("name", "value"), [("threshold", 0.0), ("margin", 1.5), ("alpha", -0.1), ("alpha", 0.9)])
def test_settings_out_of_range_say_what_is_allowed(name, value):
    with pytest.raises(InvalidOption, match=f"{name} {value}: must be above 0"):
        Rule(**{name: value})
