from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from bench.analyze.comparison import decided, log_ratios, report, share
from bench.analyze.verdict import Rule
from bench.data.duet import Duet, DuetReplicate
from bench.data.measurement import Counters
from bench.data.variant import Variant
from tests.bench.report.duets import RUN, duet

PHASES = ("forward", "backward", "optimize")


def test_a_replicate_gives_the_median_of_its_paired_log_ratios():
    replicate = DuetReplicate(
        worker=0, index=0, head_first=True, started=0.0, warmup_steps=2,
        samples={"base": {"step": (1.0, 2.0, 4.0)}, "head": {"step": (2.0, 2.0, 40.0)}},
    )  # fmt: skip
    assert log_ratios([replicate], "step") == [math.log(2.0)]
    assert log_ratios([replicate], "forward") == []


def test_half_of_alpha_is_for_steps_and_half_for_phases():
    rule = Rule(alpha=0.02)
    shares = [share(rule, metric, 3, 5) for metric in ("step", *PHASES)]
    assert shares[0] == pytest.approx(0.01 / 5)
    assert sum(shares) * 5 == pytest.approx(0.02)


def test_a_slower_phase_shows_where_the_step_hardly_moves():
    judged = report(RUN, [duet(optimize=0.05)], Rule(), 1).variants[0]
    words = {row.metric: row.verdict.word for row in judged.rows}
    assert words["optimize"] == "slower"
    assert words["forward"] == words["backward"] == "equivalent"


def test_it_is_decided_when_every_row_stands_and_not_before():
    assert decided(duet(optimize=0.05), Rule(), 1)
    assert not decided(duet(count=6), Rule(), 1)
    assert not decided(duet(noise=0.05), Rule(), 1)
    assert not decided(Duet(variant=Variant(model="a", optimizer="sgd"), status="compared", phases=PHASES), Rule(), 1)


def test_a_changed_step_with_a_phase_that_explains_it_is_an_answer_though_others_are_unsure():
    slow = duet(step=0.1, count=40)
    noise = np.random.default_rng(1).normal(1, 0.4, (40, 3))
    replicates = []
    for replicate, factors in zip(slow.replicates, noise, strict=True):
        head = dict(replicate.samples["head"])
        head["forward"] = tuple((np.array(head["forward"]) * factors).tolist())
        replicates.append(replace(replicate, samples={"base": replicate.samples["base"], "head": head}))
    assert decided(replace(slow, replicates=tuple(replicates)), Rule(), 1)
    for at, replicate in enumerate(replicates):
        head = {**replicate.samples["head"], "step": replicate.samples["base"]["step"]}
        replicates[at] = replace(replicate, samples={"base": replicate.samples["base"], "head": head})
    assert not decided(replace(slow, replicates=tuple(replicates)), Rule(), 1)


def test_exact_metrics_are_compared_exactly():
    counters = {
        "base": Counters(values={"optimize.operations": 97.0, "peak_bytes": 1.0, "loss": 2.5}, state_bytes={"m": 8}),
        "head": Counters(
            values={"optimize.operations": 98.0, "peak_bytes": 2.0, "loss": 2.5000001}, state_bytes={"m": 9}
        ),
    }
    judged = report(RUN, [duet(counters=counters)], Rule(), 1).variants[0]
    assert [(fact.metric, fact.base, fact.head) for fact in judged.facts] == [
        ("optimize.operations", 97.0, 98.0),
        ("peak_bytes", 1.0, 2.0),
        ("loss", 2.5, 2.5000001),
        ("state m", 8.0, 9.0),
    ]  # fmt: skip


def test_an_effect_of_the_order_is_found_and_favors_neither():
    judged = report(RUN, [duet(order=0.03, noise=0.002, count=60)], Rule(), 1).variants[0]
    assert judged.order[0] == pytest.approx(1.03, abs=0.004)
    assert [caveat.code for caveat in judged.caveats] == ["order-effect"]
    assert judged.step.verdict.word in {"equivalent", "inconclusive"}
    assert report(RUN, [duet()], Rule(), 1).variants[0].caveats == ()


def test_holm_gives_weak_rows_what_strong_rows_leave():
    strong = [duet(model=f"m{index}", step=0.2, optimize=0.2, count=40) for index in range(3)]
    weak = duet(model="weak", step=0.012, noise=0.011, count=26, seed=3)
    with_strong = report(RUN, [*strong, weak], Rule(), 4).variants[-1].rows[0].verdict
    alone = report(RUN, [weak], Rule(), 4).variants[-1].rows[0].verdict
    assert with_strong.evidence == alone.evidence
    assert with_strong.low == alone.low


def test_variants_without_replicates_have_no_rows():
    items = [
        Duet(variant=Variant(model="a", optimizer="sgd"), status="new"),
        Duet(variant=Variant(model="b", optimizer="sgd"), status="failed", failure="x"),
    ]
    assert [item.rows for item in report(RUN, items, Rule(), 2).variants] == [(), ()]


def test_reports_of_identical_versions_are_all_right_ninety_nine_times_in_a_hundred():
    """Twenty rows a report; 100 reports with noise that the places of the versions bias."""
    wrong = 0
    for report_ in range(100):
        duets = [
            duet(model=f"m{index}", count=16, order=0.01, noise=0.01, seed=100 * report_ + index) for index in range(5)
        ]
        words = {row.verdict.word for item in report(RUN, duets, Rule(), 5).variants for row in item.rows}
        wrong += bool(words & {"slower", "faster"})
    assert wrong <= 3  # one is expected at most; four or more would have a probability of 2 %


def test_log_ratios_of_pairs_do_not_need_equal_machines():
    """A machine that changes its speed between pairs changes no ratio."""
    speeds = np.array([1.0, 1.5, 1.0, 3.0])
    replicate = DuetReplicate(
        worker=0, index=0, head_first=False, started=0.0, warmup_steps=2,
        samples={"base": {"step": tuple(speeds)}, "head": {"step": tuple(1.1 * speeds)}},
    )  # fmt: skip
    assert log_ratios([replicate], "step")[0] == pytest.approx(math.log(1.1))
