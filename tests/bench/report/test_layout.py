from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from bench.report.layout import Cell, Grid, fold

FIGURES = [Cell(head="11.9 ms", details=("±1.2%", "117·0")), Cell(head="1.09 MB", details=("4.20 MB",))]
LABEL = Cell(head="  eva/none", details=("@batch=32",))


def drawn(width):
    grid = Grid.fit([LABEL], [FIGURES], width)
    return [line.plain.rstrip() for line in grid.row(LABEL, FIGURES, "state: a 1 B, b 2 B")]


def test_with_room_a_row_is_two_lines_and_what_stands_below():
    assert drawn(34) == [
        "  eva/none      11.9 ms  1.09 MB",
        "@batch=32   ±1.2% 117·0  4.20 MB",
        "            state: a 1 B, b 2 B",
    ]


def test_with_less_room_details_stand_below_each_other():
    assert drawn(30) == [
        "  eva/none  11.9 ms  1.09 MB",
        "@batch=32     ±1.2%  4.20 MB",
        "              117·0",
        "            state: a 1 B, b 2 B",
    ]


def test_with_little_room_the_label_stands_above():
    assert drawn(20) == [
        "  eva/none @batch=32",
        "  11.9 ms  1.09 MB",
        "    ±1.2%  4.20 MB",
        "    117·0",
        "  state: a 1 B, b 2 B",
    ]


def test_a_message_takes_the_place_of_the_figures_and_is_folded():
    grid = Grid.fit([LABEL], [FIGURES], 40)
    lines = [line.plain.rstrip() for line in grid.message(LABEL, "failed: one two three four five six", "red")]
    assert lines == ["  eva/none  failed: one two three four", "@batch=32   five six"]


@pytest.mark.parametrize("width", [1, 10, 16])
def test_a_grid_that_cannot_fit_is_the_narrowest(width):
    grid = Grid.fit([LABEL], [FIGURES], width)
    assert (grid.joined, grid.beside, grid.gap, grid.total) == (False, False, 1, 16)


cells = st.builds(
    Cell,
    head=st.text("ab 1.2 µ宽", max_size=12),
    details=st.lists(st.text("ab±宽", min_size=1, max_size=9), max_size=3).map(tuple),
)


@given(cells, st.lists(cells, min_size=1, max_size=8), st.integers(1, 150))
def test_nothing_is_lost_and_nothing_is_wider_than_the_table(label, figures, width):
    grid = Grid.fit([label], [figures], width)
    lines = grid.row(label, figures)
    text = "".join(line.plain for line in lines).replace(" ", "")
    for cell in (label, *figures):
        for part in (cell.head, *cell.details):
            assert part.replace(" ", "") in text or not grid.joined
    written = sorted("".join((cell.head, *cell.details)) for cell in (label, *figures))
    assert sorted(text) == sorted("".join(written).replace(" ", ""))
    if grid.beside:
        assert all(cell_len(line.plain) <= grid.total for line in lines)
    if grid.total > width:
        assert (grid.beside, grid.gap) == (False, 1)


@given(st.text("ab 宽", max_size=60), st.integers(1, 40))
def test_folding_keeps_every_word(text, width):
    lines = fold(text, width, "dim", mark="[1] ")
    joined = "".join(line.plain for line in lines)
    assert joined.startswith("[1] ") or not text.strip()
    assert joined.replace("[1] ", "", 1).replace(" ", "") == text.replace(" ", "")
