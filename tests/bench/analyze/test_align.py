from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.analyze.align import align, merged

LINES = st.lists(st.sampled_from(["", "a = 1", "b = 2", "  b = 2", "return a", "for x in y:"]), max_size=12)


def kinds(base, head):
    return [(row.kind, row.base, row.head) for row in align(base, head)]


def test_lines_are_aligned_by_content_whatever_their_indentation():
    assert kinds(["a", "b", "c"], ["a", "new", "    b", "c"]) == [
        ("same", 0, 0), ("added", None, 1), ("same", 1, 2), ("same", 2, 3),
    ]  # fmt: skip


def test_a_line_that_moved_is_one_line():
    assert kinds(["a", "b", "c", "d"], ["b", "c", "d", "a"]) == [
        ("same", 1, 0), ("same", 2, 1), ("same", 3, 2), ("moved", 0, 3),
    ]  # fmt: skip


def test_a_changed_line_is_a_removed_and_an_added_one():
    assert kinds(["a", "x = 1", "c"], ["a", "x = 2", "c"]) == [
        ("same", 0, 0), ("removed", 1, None), ("added", None, 1), ("same", 2, 2),
    ]  # fmt: skip


@given(LINES, LINES)
def test_every_line_of_both_sides_stands_in_exactly_one_row(base, head):
    rows = align(base, head)
    assert sorted(row.base for row in rows if row.base is not None) == list(range(len(base)))
    assert [row.head for row in rows if row.head is not None] == list(range(len(head)))
    for row in rows:
        if row.base is not None and row.head is not None:
            assert base[row.base].strip() == head[row.head].strip()


@given(LINES)
def test_equal_sides_have_nothing_but_equal_lines(lines):
    assert kinds(lines, lines) == [("same", index, index) for index in range(len(lines))]


@given(st.lists(LINES, min_size=1, max_size=4))
def test_a_merge_keeps_the_order_of_every_side(sides):
    rows = merged(sides)
    for number, side in enumerate(sides):
        assert [row[number] for row in rows if row[number] is not None] == list(range(len(side)))
    for row in rows:
        assert len({sides[number][index].strip() for number, index in enumerate(row) if index is not None}) == 1
