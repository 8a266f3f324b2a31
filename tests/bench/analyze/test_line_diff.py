from __future__ import annotations

from dataclasses import replace

import pytest

from bench.analyze.line_diff import diff
from tests.bench.report.profile.samples import FORWARD, function, profile


def changed(text, seconds, lines=FORWARD):
    return tuple((one, seconds if one.strip() == text else old) for one, old in lines)


def differing(found):
    return [
        (one.head.name if one.head else one.base.name, line.text.strip())
        for one in found.functions
        for line in one.explaining
    ]


def test_a_profile_does_not_differ_from_another_of_the_same_code():
    assert differing(diff(profile(), profile(function(seed=1)))) == []


def test_identical_code_is_rarely_said_to_differ():
    wrong = sum(
        bool(differing(diff(profile(function(seed=2 * seed)), profile(function(seed=2 * seed + 1)))))
        for seed in range(200)
    )
    assert wrong <= 6


def test_the_line_that_changed_is_named_first_with_what_it_cost():
    slower = function(changed("x = block(x)", 1000e-6), seed=1)
    found = diff(profile(), profile(slower))
    assert differing(found) == [("Net.forward", "x = block(x)")]
    (line,) = found.functions[0].explaining
    assert line.change.low < 100e-6 < line.change.high
    assert line.share == pytest.approx(1)


def test_a_change_too_small_to_matter_is_no_difference():
    slower = function(changed("return x", 0.55e-6), seed=1)
    found = diff(profile(), profile(slower))
    assert differing(found) == []


def test_added_lines_cost_what_they_cost_and_the_rest_stays_aligned():
    lines = (*FORWARD[:3], ("    x = x.clone()", 60e-6), *FORWARD[3:])
    found = diff(profile(), profile(function(lines, seed=1)))
    assert differing(found) == [("Net.forward", "x = x.clone()")]
    assert found.functions[0].explaining[0].kind == "added"


def test_several_lines_are_named_until_they_explain_four_fifths():
    slower = changed("x = block(x)", 1000e-6, changed("x = self.conv(x)", 842e-6, changed("x = F.relu(x)", 30e-6)))
    found = diff(profile(), profile(function(slower, seed=1)))
    assert {text for _, text in differing(found)} == {"x = block(x)", "x = self.conv(x)"}


def test_steps_of_other_optimizers_are_set_against_each_other():
    base = profile(function(), function((("a()", 1e-3),), name="SGD.step", role="optimize"))
    head = profile(function(seed=1), function((("b()", 2e-3),), name="Eva.step", role="optimize"))
    first = diff(base, head).functions[0]
    assert (first.base.name, first.head.name) == ("SGD.step", "Eva.step")
    assert [line.kind for line in first.lines] == ["removed", "added"]


def test_profiles_that_were_taken_apart_are_compared_by_replicates():
    found = diff(profile(), profile(function(changed("x = block(x)", 1000e-6), seed=1), session="s2"))
    assert not found.paired
    assert differing(found) == [("Net.forward", "x = block(x)")]


def test_hooks_stand_behind_the_lines_that_call_them():
    base = (function(), function((("pass", 5e-4),), name="hook", role="hook"))
    head = (
        function(changed("x = self.conv(x)", 842e-6), seed=1),
        function((("pass", 7e-4),), name="hook", role="hook", seed=1),
    )
    assert [one.head.role for one in diff(profile(*base), profile(*head)).functions] == ["forward", "hook"]


def test_work_of_every_fourth_step_is_found():
    lines = (("cheap()", 1e-4), ("update()", 2e-3))
    rare = function(lines, seed=1)
    (cheap, update) = rare.lines
    seconds = tuple(tuple(value if step == 0 else 0.0 for step, value in enumerate(taken)) for taken in update.seconds)
    head = replace(rare, lines=(cheap, replace(update, seconds=seconds, hits=update.hits // 4)))
    found = diff(profile(function(lines)), profile(head))
    (line,) = found.functions[0].explaining
    assert line.change.seconds == pytest.approx(-1.5e-3, rel=0.05)


def test_edited_lines_are_listed_even_where_nothing_is_sure():
    lines = (*FORWARD[:3], ("    x = x.view(-1)", 0.15e-6), *FORWARD[3:])
    (one,) = diff(profile(), profile(function(lines, seed=1))).functions
    assert not one.explaining
    assert [line.text.strip() for line in one.edited] == ["x = x.view(-1)"]
