from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowbit.deploy import beside, cells, markdown
from lowbit.deploy.words import notes, number, summary
from tests.lowbit.deploy.samples import CHIP, between, cost, exact, performance, two


def text(row):
    return [cell.text for cell in row]


@given(st.floats(0, 1e15))
def test_a_number_has_no_exponent_and_three_digits(value):
    shown = number(value)
    assert "e" not in shown
    assert float(shown.replace(",", "")) == pytest.approx(value, rel=6e-3, abs=1e-6)


def test_a_row_has_a_cell_for_each_column():
    found = performance([cost(), between()], [1e-3, 5e-4], whole=2e-3, glue=1e-4, on=CHIP)
    rows = cells.rows(found)
    assert {len(row) for row in rows} == {len(cells.columns(found))}
    assert text(rows[0])[:11] == [
        "conv", "Conv2d", "2x4", "f32·f32", "2.00", "1.00", "2.00", "4.00", "286", "1.000", "10.0 %",
    ]  # fmt: skip
    assert text(rows[0])[11:] == ["50.0 %", "0.020", "2.0 %", "compute", "0.200", "compute"]
    assert text(rows[-1])[:2] == ["(glue)", "Python"]


def test_heads_that_do_not_say_what_they_mean_are_explained_where_they_are_shown():
    shown = cells.columns(performance([cost()], [1e-3], whole=2e-3, on=CHIP))
    said = cells.legend(shown)
    assert "numbers: dtype of activations·weights; Mop: " in said
    assert "reached: bound / ms; beyond 100 % caches helped; by: what sets the bound, compute or memory" in said
    assert "numbers" not in cells.legend([column for column in shown if column.head != "numbers"])


def test_what_nobody_counts_is_a_question_in_its_row_and_a_note():
    found = performance([cost(uncounted={"my::op": 2})], [1e-3], whole=1e-3)
    assert cells.rows(found)[0][4].text == "2.00?"
    (note,) = notes(found)
    assert note.startswith("not counted: my::op (2 x)")


def test_layers_that_add_up_need_no_note_and_others_say_what_it_is():
    assert notes(performance([cost()], [1e-3], whole=1.09e-3)) == []
    (note,) = notes(performance([cost()], [1e-3], whole=2e-3, marked=2.5e-3))
    assert note.startswith(
        "layers add up to -50.0 % of the whole (by the time in which their thread ran: -50.0 %): with marks"
    )
    assert "takes 0.500 ms more, and its layers add up to 1.50 ms less than that" in note


def test_a_machine_in_use_and_simulated_integers_are_said():
    busy, simulated = notes(performance([cost(weights={"int8": 9})], [1e-3], whole=1e-3, cpu=4e-4))
    assert busy.startswith("the thread ran for 40 % of the time only")
    assert simulated.startswith("1 layers have weights of integers and compute in float32")


def test_a_model_that_is_timed_as_a_whole_says_why_it_has_no_times():
    found = performance([cost()], [1e-3], whole=1e-3)
    whole = replace(found, marked=None, glue=None, rows=tuple(replace(row, time=None) for row in found.rows))
    assert notes(whole)[0].startswith("compiled: only the whole can be timed")
    assert cells.rows(whole)[0][9].text == "—"
    assert "layers" not in dict(summary(whole))


def test_two_models_have_their_layers_in_one_table():
    fused, whole = two()
    pairs = beside.pairs(fused, whole)
    assert [pair.name for pair in pairs] == ["a", "norm", "b<i>", beside.BETWEEN, "(glue)", beside.ALL]
    rows = [text(row) for row in beside.rows(pairs)]
    assert rows[0] == ["a", "0.500", "2.000", "0.250", "2.00", "2.00", "1.75", "7.00", "0.250", "0.250"]
    assert rows[1][1:4] == ["—", "1.000", "—"]
    assert rows[3][1:4] == ["0.100", "0.500", "0.200"]
    assert rows[5][1:4] == ["1.500", "6.500", "0.231"]


def test_layers_of_either_model_stand_in_its_own_order():
    left = performance([cost(name) for name in ("a", "x", "b")], [1.0] * 3, whole=3.0)
    right = performance([cost(name) for name in ("stub", "a", "b", "y")], [1.0] * 4, whole=4.0)
    names = [pair.name for pair in beside.pairs(left, right)][:5]
    assert names == ["stub", "a", "x", "b", "y"]


def test_a_pull_request_gets_every_table_with_its_notes():
    shown = markdown.render(two())
    assert shown.count("### model/none/") == 2
    assert "| b<i> |" in shown
    assert "predicted on chip <b>" in shown
    for line in shown.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_an_interval_is_there_where_there_is_one():
    found = performance([cost()], [1e-3], whole=1e-3)
    assert dict(summary(found))["latency"] == "1.00 ms ±10.0 %"
    alone = replace(found, whole=replace(exact(1e-3), low=None, high=None))
    assert dict(summary(alone))["latency"] == "1.00 ms"
