from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.analyze.calibration import could_alarm, count, false_alarm, reports, said_within, verdicts
from bench.analyze.verdict import Rule, judge
from bench.data.calibration import Trial


def trial(effect=0.0, noise=0.005, replicates=40, seed=0):
    generator = np.random.default_rng(seed)
    values = tuple((generator.normal(effect, noise, replicates)).tolist())
    return Trial(
        created="", host="", commit="", variant="a/b/none", extra=0, effect=effect, of="step", busy=False,
        budget_s=60.0, phases=("optimize",), seconds=tuple(range(1, replicates + 1)), head_first=(True,) * replicates,
        log_ratios={"step": values, "optimize": values},
    )  # fmt: skip


def test_the_first_verdict_counts_and_its_time():
    words = verdicts(trial(effect=0.05), Rule())
    assert words["step"][0] == "slower"
    assert 10 <= words["step"][1] <= 16
    assert said_within(words, "step", "slower", 20)
    assert not said_within(words, "step", "slower", 5)
    assert verdicts(trial(replicates=5), Rule())["step"] == ("inconclusive", 5)


def test_a_false_alarm_is_a_change_in_any_row():
    calm, changed = trial(), trial(effect=0.05)
    assert not false_alarm(calm, Rule())
    for metric in ("step", "optimize"):
        assert false_alarm(replace(calm, log_ratios=calm.log_ratios | {metric: changed.log_ratios[metric]}), Rule())


def test_an_alarm_that_a_later_look_takes_back_is_one():
    values = (0.05,) * 14 + (-0.05,) * 26
    taken_back = replace(trial(), log_ratios={"step": values, "optimize": (0.0,) * 40})
    assert judge(values, Rule(), 0.005).word == "inconclusive"
    assert false_alarm(taken_back, Rule())


def test_too_few_replicates_could_raise_no_alarm_whatever_they_said():
    assert not could_alarm(trial(effect=0.5, replicates=6), Rule())
    assert could_alarm(trial(replicates=40), Rule())


def test_shares_come_with_the_exact_binomial_interval():
    found = count([True, *[False] * 99])
    assert (found.hits, found.trials) == (1, 100)
    assert (found.low, found.high) == (pytest.approx(0.000253, abs=1e-6), pytest.approx(0.05446, abs=1e-5))
    assert count([]).high == 1.0


def test_simulated_reports_of_identical_versions_are_right_though_their_places_are_biased():
    biased = [trial(effect=0.02, seed=seed, replicates=20) for seed in range(5)]
    assert all(false_alarm(item, Rule()) for item in biased)
    # With the coins tossed again, what was a bias of the place has either sign.
    assert reports(biased, Rule(), variants=2, times=60).hits <= 3
