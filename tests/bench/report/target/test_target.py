from __future__ import annotations

import json

import pytest
from markdown_it import MarkdownIt

from bench.analyze.target import tables
from bench.report.target import document, markdown, terminal
from tests.trainings import mixed, record, training


@pytest.fixture
def table():
    (made,) = tables(mixed(), baseline="sgd")
    return made


def cells(text, variant):
    """The cells of a variant's row; notes have a colon behind the name."""
    (found,) = [line for line in text.splitlines() if line.startswith(f"{variant} ")]
    return [cell.strip() for cell in found.split("  ") if cell.strip()]


def test_a_row_says_how_often_how_many_steps_how_long_and_against_what(table):
    text = terminal.render(table, width=160, color=False)
    row = cells(text, "toy/fast/none@batch=8")
    assert row[:4] == ["toy/fast/none@batch=8", "0.01", "3 of 3", "30 ±83%"]
    assert row[4:6] == ["6.00 s ±83%", "200 ms"]
    assert row[6].startswith("0.737 (")
    assert cells(text, "toy/sgd/none@batch=8")[-2:] == ["1", "1"]


def test_what_was_given_up_has_no_number_and_says_so(table):
    text = terminal.render(table, width=200, color=False)
    assert cells(text, "toy/slow/none@batch=8") == [
        "toy/slow/none@batch=8",
        "0.1",
        "2 of 3",
        "—",
        "—",
        "100 ms",
        "—",
        "—",
    ]
    assert "toy/slow/none@batch=8: not reached in 40 steps by 1 of 3 seeds (best: 89.0%)" in text
    assert "toy/bad/none@batch=8: failed: ValueError: no luck | <b>" in text


def test_the_grid_and_the_choice_are_told(table):
    text = terminal.render(table, width=200, color=False)
    assert "learning rates tried with seed 0: 0.01, 0.1; measured with seeds 1 to 3" in text
    assert (
        "learning rates of toy/sgd/none@batch=8: 0.01: 60.0% at best in 20 steps, 0.1: 20 steps; 0.1 was chosen" in text
    )
    assert "toy/sgd/none@batch=8: its best learning rate, 0.1, is at the end of the grid" in text


def test_a_narrow_terminal_folds_the_words_and_color_is_asked_for(table):
    assert "\x1b" not in terminal.render(table, width=60, color=False)
    assert "\x1b" in terminal.render(table, width=60, color=True)


def test_markdown_is_one_table_in_which_nothing_is_active(table):
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown.render(table))
    assert html.count("<tr>") == 1 + len(table.rows)
    assert "<b>" not in html
    assert "<code>toy/fast/none@batch=8</code>" in html
    assert "Learning rates that were tried:" in html


def test_the_document_holds_every_look(table):
    content = json.loads(document.render([table]))
    assert (content["kind"], content["schema"]) == ("targets", 1)
    rows = {row["variant"]: row for row in content["tables"][0]["rows"]}
    assert rows["toy/slow/none@batch=8"]["steps"] is None
    assert [look["steps"] for look in rows["toy/sgd/none@batch=8"]["trainings"][0]["checkpoints"]] == [10, 20, 30]
    assert content["tables"][0]["protocol"]["rates"] == [0.01, 0.1]
    assert rows["toy/fast/none@batch=8"]["reached"] == 3


def test_without_a_baseline_there_are_no_columns_of_ratios():
    (made,) = tables([record(training("fast", 1, 0.95))], baseline="sgd")
    assert " vs " not in terminal.render(made, width=120, color=False)
