from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, ttest_1samp, ttest_rel

from lowbit.pipeline.statistics import mcnemar, mean, mean_difference, wilson

counts = st.integers(1, 500).flatmap(lambda count: st.tuples(st.integers(0, count), st.just(count)))
accuracies = st.lists(st.floats(0, 1), min_size=2, max_size=8)


@given(counts)
def test_wilson_is_scipy_s(share):
    hits, count = share
    found = wilson(hits, count)
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert found.center == hits / count
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= found.center <= found.high <= 1


def test_wilson_at_a_value_from_the_literature():
    """81 of 263: 0.2553 to 0.3662 (Newcombe, Statistics in Medicine 17, 1998, table I)."""
    found = wilson(81, 263)
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(("hits", "count"), [(0, 0), (-1, 3), (4, 3)])
def test_a_share_of_nothing_is_refused(hits, count):
    with pytest.raises(ValueError, match=f"{hits} of {count}"):
        wilson(hits, count)


@given(accuracies)
def test_the_interval_of_a_mean_holds_zero_where_the_t_test_does_not_reject(values):
    found = mean(values)
    if len(set(values)) == 1 or math.isclose(found.high, found.low):
        return
    expected = ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


def test_one_seed_has_no_interval():
    found = mean([0.9])
    assert (found.center, found.low, found.high) == (0.9, None, None)


def test_differences_are_paired_by_seed():
    values, others = [0.90, 0.95, 0.99, 0.93], [0.89, 0.93, 0.98, 0.93]
    found = mean_difference(values, others)
    expected = ttest_rel(values, others).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.high - found.low < mean(values).high - mean(values).low
    with pytest.raises(ValueError, match="shorter"):
        mean_difference(values, others[:3])


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_test_of_a_coin(gained, lost):
    found = mcnemar(gained, lost)
    assert found == mcnemar(lost, gained)
    expected = binomtest(gained, gained + lost, 0.5).pvalue if gained + lost else 1.0
    assert found == pytest.approx(expected, rel=1e-9)
