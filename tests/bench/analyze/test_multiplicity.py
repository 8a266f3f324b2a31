from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analyze.multiplicity import holm

capitals = st.dictionaries(st.integers(0, 20), st.floats(-5, 40), min_size=1, max_size=8)


def test_equal_weights_are_the_procedure_of_the_textbook():
    p = {"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}
    rejected = holm({row: -math.log(value) for row, value in p.items()}, dict.fromkeys(p, 1.0), 0.05)
    assert rejected == {"a", "d"}  # 0.005 <= 0.05/4 and 0.01 <= 0.05/3, but 0.03 > 0.05/2


@given(capitals, st.sampled_from([0.05, 0.01]))
def test_it_rejects_all_that_bonferroni_rejects_and_nothing_above_alpha(found, alpha):
    weights = {row: 1.0 + row % 3 for row in found}
    total = sum(weights.values())
    rejected = holm(found, weights, alpha)
    for row, capital in found.items():
        if capital >= math.log(total / weights[row]) - math.log(alpha) + 1e-9:
            assert row in rejected
        if capital < -math.log(alpha) - 1e-9:
            assert row not in rejected


def test_a_family_of_true_hypotheses_errs_with_probability_alpha():
    generator = np.random.default_rng(5)
    weights = {row: 3.0 if row == 0 else 1.0 for row in range(7)}
    wrong = sum(bool(holm({row: -math.log(generator.random()) for row in weights}, weights, 0.05)) for _ in range(4000))
    assert wrong / 4000 == pytest.approx(0.05, abs=0.012)


def test_no_rows_no_rejections():
    assert holm({}, {}, 0.01) == set()
