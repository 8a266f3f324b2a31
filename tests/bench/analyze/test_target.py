from __future__ import annotations

import math

import pytest
from scipy.stats import t

from bench.analyze.target import tables
from tests.trainings import mixed, record, training


@pytest.fixture
def rows():
    (table,) = tables(mixed(), baseline="sgd")
    return {row.variant.optimizer: row for row in table.rows}


def test_steps_and_seconds_are_means_over_seeds_with_students_interval(rows):
    steps = rows["sgd"].steps
    half = t.ppf(0.975, 2) * 10 / math.sqrt(3)
    assert steps.center == pytest.approx(40)
    assert (steps.low, steps.high) == (pytest.approx(40 - half), pytest.approx(40 + half))
    assert rows["sgd"].seconds.center == pytest.approx(4)
    assert rows["sgd"].reached == 3


def test_ratios_are_geometric_means_of_pairs_of_one_seed(rows):
    ratios = [(20 / 30), (30 / 40), (40 / 50)]
    fast = rows["fast"]
    assert fast.step_ratio.center == pytest.approx(math.prod(ratios) ** (1 / 3))
    assert fast.second_ratio.center == pytest.approx(2 * fast.step_ratio.center)
    assert fast.step_ratio.low < fast.step_ratio.center < fast.step_ratio.high
    assert rows["sgd"].step_ratio.center == pytest.approx(1)


def test_a_variant_that_was_given_up_once_has_no_mean_and_no_ratio(rows):
    slow = rows["slow"]
    assert (slow.reached, slow.steps, slow.seconds, slow.step_ratio) == (2, None, None, None)
    assert slow.arrivals[1] is None


def test_trials_of_rates_are_no_measurements(rows):
    assert [trial.rate for trial in rows["fast"].trials] == [0.1, 0.01]
    assert rows["fast"].rate == 0.01
    assert {training.seed for training in rows["fast"].trainings} == {1, 2, 3}
    assert rows["fast"].on_edge


def test_a_failure_is_kept(rows):
    assert rows["bad"].failure == "ValueError: no luck | <b>"
    assert rows["bad"].steps is None


def test_one_seed_has_a_mean_without_an_interval():
    (table,) = tables([record(training("sgd", 1, 0.95)), record(training("fast", 1, 0.5, 0.95))], baseline="sgd")
    assert (table.rows[1].steps.center, table.rows[1].steps.low) == (20, None)
    assert table.rows[1].step_ratio.center == pytest.approx(2)


def test_without_the_baseline_there_are_no_ratios():
    (table,) = tables([record(training("fast", 1, 0.95))], baseline="sgd")
    assert table.baseline is None
    assert table.rows[0].step_ratio is None


def test_seeds_are_paired_and_not_their_order():
    given = [training("sgd", 1, 0.95), training("sgd", 2, 0.1, 0.95), training("fast", 2, 0.95)]
    (table,) = tables([record(one) for one in given], baseline="sgd")
    assert table.rows[1].step_ratio.center == pytest.approx(0.5)


def test_runs_do_not_mix():
    assert len(tables([record(training("sgd", 1, 0.95), run=run) for run in ("a", "b")], baseline="sgd")) == 2
