from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analyze.change import change


def replicates(center, spread, count, seed):
    rng = random.Random(seed)
    return [[rng.gauss(center, spread) for _ in range(5)] for _ in range(count)]


def test_the_interval_of_a_change_covers_it_as_often_as_it_says():
    hits = 0
    for seed in range(400):
        common = random.Random(seed).gauss(0, 5)
        base, head = replicates(10 + common, 1, 8, seed), replicates(11 + common, 1, 8, seed + 1000)
        found = change(base, head, paired=seed % 2 == 0)
        hits += found.low <= 1 <= found.high
    assert hits / 400 >= 0.92


@given(st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=2, max_size=6), st.booleans())
def test_a_profile_does_not_differ_from_itself(values, paired):
    found = change(values, values, paired=paired)
    assert found.seconds == pytest.approx(0, abs=1e-12)
    assert found.p > 0.9


def test_a_side_without_the_line_took_no_time_for_it():
    values = replicates(5, 0.1, 6, 0)
    for paired in (True, False):
        assert change([], values, paired=paired).seconds == pytest.approx(5, rel=0.05)
        assert change(values, [], paired=paired).seconds == pytest.approx(-5, rel=0.05)
        assert change([], values, paired=paired).p < 1e-4


def test_one_replicate_has_no_interval():
    found = change([[1.0, 2.0]], [[3.0, 4.0]], paired=True)
    assert (found.seconds, found.low, found.high, found.p) == (2.0, None, None, 1.0)


@pytest.mark.parametrize("paired", [True, False])
def test_work_that_only_some_steps_do_is_a_change(paired):
    rng = random.Random(0)
    base = [[1.0 + rng.gauss(0, 0.01) for _ in range(12)] for _ in range(8)]
    head = [[1.0 + rng.gauss(0, 0.01) if step % 4 == 0 else 0.0 for step in range(12)] for _ in range(8)]
    found = change(base, head, paired=paired)
    assert found.seconds == pytest.approx(-0.75, abs=0.02)
    assert found.p < 1e-6
