"""Where boxes stand: none meets another, every edge goes down and passes no box, and nothing is left to chance."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowbit.deploy.layout import Spacing, layout
from lowbit.deploy.layout_order import crossings, ordered


@st.composite
def graphs(draw):
    """Boxes of all sizes, and edges from lower to higher numbers."""
    count = draw(st.integers(1, 12))
    side = st.floats(5, 200, allow_nan=False)
    sizes = draw(st.lists(st.tuples(side, side), min_size=count, max_size=count))
    pairs = st.sampled_from(list(itertools.combinations(range(count), 2)) or [None])
    edges = draw(st.lists(pairs, max_size=24, unique=True)) if count > 1 else []
    return sizes, edges


def boxes(sizes, found):
    return [(x, y, x + width, y + height) for (x, y), (width, height) in zip(found.corners, sizes, strict=True)]


def inside(point, box, slack=1e-6):
    x, y = point
    return box[0] + slack < x < box[2] - slack and box[1] + slack < y < box[3] - slack


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_no_two_boxes_meet_and_all_stand_inside(graph):
    sizes, edges = graph
    found = layout(sizes, edges)
    placed = boxes(sizes, found)
    for one, other in itertools.combinations(placed, 2):
        assert one[2] <= other[0] + 1e-6 or other[2] <= one[0] + 1e-6 or one[3] <= other[1] or other[3] <= one[1]
    assert min(box[0] for box in placed) >= -1e-6
    assert max(box[2] for box in placed) <= found.width + 1e-6
    assert max(box[3] for box in placed) == pytest.approx(found.height)


@given(graphs())
@settings(max_examples=60, deadline=None)
def test_every_edge_goes_down_from_its_box_to_its_box_and_through_no_other(graph):
    sizes, edges = graph
    found = layout(sizes, edges)
    placed = boxes(sizes, found)
    for (start, end), route in zip(edges, found.routes, strict=True):
        heights = [y for _, y in route]
        assert all(upper < lower for upper, lower in itertools.pairwise(heights))
        assert route[0] == (pytest.approx((placed[start][0] + placed[start][2]) / 2), pytest.approx(placed[start][3]))
        assert route[-1] == (pytest.approx((placed[end][0] + placed[end][2]) / 2), pytest.approx(placed[end][1]))
        for (x, y), (other_x, other_y) in itertools.pairwise(route):
            middle = ((x + other_x) / 2, (y + other_y) / 2)
            assert not any(inside(point, box) for point in ((x, y), middle, (other_x, other_y)) for box in placed)


@given(graphs())
@settings(max_examples=20, deadline=None)
def test_the_same_graph_has_the_same_layout(graph):
    assert layout(*graph) == layout(*graph)


@given(graphs())
@settings(max_examples=40, deadline=None)
def test_sorting_never_makes_more_crossings_than_there_were(graph):
    sizes, edges = graph
    # A graph of two ranks: what is above, and what is below.
    rank_of = [0] * len(sizes) + [1] * len(sizes)
    links = [(start, len(sizes) + end) for start, end in edges]
    before = [list(range(len(sizes))), list(range(len(sizes), 2 * len(sizes)))]
    assert crossings(ordered(rank_of, links), links) <= crossings(before, links)


def test_crossings_are_counted_by_pairs():
    rows = [[0, 1], [2, 3]]
    assert crossings(rows, [(0, 3), (1, 2)]) == 1
    assert crossings(rows, [(0, 2), (1, 3)]) == 0
    assert crossings(rows, [(0, 2), (0, 3), (1, 2), (1, 3)]) == 1
    assert ordered([0, 0, 1, 1], [(0, 3), (1, 2)]) in ([(0, 1), (3, 2)], [(1, 0), (2, 3)])


def test_a_chain_beside_a_shortcut_stays_straight():
    found = layout([(100.0, 20.0)] * 4, [(0, 1), (1, 2), (2, 3), (0, 3)])
    assert max(x for x, _ in found.corners) - min(x for x, _ in found.corners) < 2
    assert [y for _, y in found.corners] == [0, 46, 92, 138]
    assert len(found.routes[3]) == 6


def test_a_box_that_begins_late_stands_just_above_the_one_it_goes_to():
    found = layout([(10.0, 10.0)] * 4, [(0, 1), (1, 2), (3, 2)], Spacing(below=10))
    assert found.corners[3][1] == found.corners[1][1]


def test_what_is_no_layered_graph_is_refused():
    with pytest.raises(ValueError, match=r"a cycle before boxes \[0, 1, 2\]"):
        layout([(1.0, 1.0)] * 3, [(0, 1), (1, 0), (1, 2)])
    with pytest.raises(ValueError, match="edge 0 -> 7: there are boxes 0 to 1"):
        layout([(1.0, 1.0)] * 2, [(0, 7)])
    assert layout([], []).corners == ()
