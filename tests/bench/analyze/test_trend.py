from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from bench.analyze.trend import kendall_p


def test_p_counts_the_orders_that_are_as_extreme():
    assert kendall_p([1, 2, 3]) == pytest.approx(2 / 6)
    assert kendall_p([3, 2, 1]) == pytest.approx(2 / 6)
    assert kendall_p(list(range(8))) == pytest.approx(2 / 40320)
    assert kendall_p([1, 3, 2]) == pytest.approx(1.0)


def test_p_is_that_of_scipy():
    generator = np.random.default_rng(0)
    for _ in range(20):
        values = generator.permutation(9).tolist()
        assert kendall_p(values) == pytest.approx(kendalltau(range(9), values, method="exact").pvalue)


def test_values_without_order_have_no_trend():
    assert kendall_p([]) == kendall_p([1.0]) == 1.0
    assert kendall_p([1.0] * 10) == 1.0


def test_a_tie_is_never_evidence():
    """However the tied pair had turned out, one of the two orders is at least as probable."""
    assert kendall_p([1, 2, 3, 3, 4, 5]) >= kendall_p([1, 2, 3, 3.5, 4, 5])
    assert kendall_p([5, 4, 3, 3, 2, 1]) >= kendall_p([5, 4, 3.5, 3, 2, 1])
    assert kendall_p([5, 4, 3, 3, 2, 1]) == pytest.approx(kendall_p([1, 2, 3, 3, 4, 5]))
