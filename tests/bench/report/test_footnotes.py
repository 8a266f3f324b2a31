from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.data.measurement import Caveat
from bench.report.footnotes import footnotes
from bench.report.plain import one_line
from tests.bench.report.conftest import make_row, rows, whole_tables


def noted(*caveats):
    """Footnotes of a table with one row for each of the given tuples of (code, message)."""
    return footnotes(
        [make_row("mlp/sgd/none", caveats=tuple(Caveat(code=c, message=m) for c, m in row)) for row in caveats]
    )


def test_one_caveat_on_several_rows_is_one_note():
    busy, drift = ("foreign-load", "the machine was busy"), ("drift", "steps became slower")
    made = noted([busy], [], [drift, busy], [busy, busy])
    assert made.notes == ("the machine was busy", "steps became slower")
    assert made.marks == ((1,), (), (1, 2), (1,))


def test_caveats_that_differ_in_figures_are_one_note_with_their_ranges():
    made = noted(
        [("load", "others kept 1.9 of 2 cores busy, +3.0 %")],
        [("load", "others kept 0.7 of 2 cores busy, -1.0 %")],
        [("load", "others kept 1.2 of 2 cores busy, +11.0 %")],
    )
    assert made.notes == ("others kept 0.7 to 1.9 of 2 cores busy, -1.0 to +11.0 %",)
    assert made.marks == ((1,), (1,), (1,))


def test_digits_inside_names_and_versions_are_no_figures():
    made = noted([("x", "resnet20 with eva-8bit, 1.5.2")], [("x", "resnet18 with eva-8bit, 1.5.2")])
    assert made.notes == ("resnet20 with eva-8bit, 1.5.2", "resnet18 with eva-8bit, 1.5.2")


def test_another_code_is_another_note():
    assert noted([("x", "same words")], [("y", "same words")]).marks == ((1,), (2,))


@given(rows())
def test_what_is_said_of_one_row_only_is_printed_as_it_was_said(row):
    made = footnotes([row])
    kinds = {(caveat.code, one_line(caveat.message)) for caveat in row.caveats}
    if len({code for code, _ in kinds}) == len(row.caveats):
        assert list(made.notes) == [one_line(caveat.message) for caveat in row.caveats]
    assert made.marks == (tuple(range(1, len(made.notes) + 1)),)


@whole_tables
@given(st.lists(rows(), max_size=6))
def test_every_caveat_has_its_note_and_no_note_is_without_a_row(drawn):
    made = footnotes(drawn)
    assert {mark for marks in made.marks for mark in marks} == set(range(1, len(made.notes) + 1))
    assert [bool(marks) for marks in made.marks] == [bool(row.caveats) for row in drawn]
