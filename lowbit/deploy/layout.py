"""Where the boxes of a graph stand: a layered layout, in which every edge goes down.

The steps are those of Sugiyama, Tagawa and Toda, "Methods for Visual Understanding of Hierarchical System Structures"
(1981): ranks by the longest path, stand-ins where an edge passes a rank, the order in each rank by barycenters, and
then coordinates. The last step asks each box where its neighbours would have it, and settles a rank by the least sum of
squares that keeps its boxes apart (isotonic regression by pooling adjacent violators).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from lowbit.deploy.layout_order import Rank, ordered

Point = tuple[float, float]
# Sweeps of the coordinates; more of them move nothing that is seen in graphs of some hundred boxes.
SWEEPS = 60
# The main path is one straight line; other boxes stand below each other where they can. An edge leaves them for its
# way around, and is straight on it.
_MAIN, _BOXES, _PASSING, _BENDING = 1e6, 16.0, 4.0, 0.05


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The upper left corner of each box, the points that each edge goes through from top to bottom, and the whole size.

    Boxes have the sizes, and routes the order, that were given.
    """

    sizes: tuple[Point, ...]
    corners: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Spacing:
    """The least distances of boxes beside each other and of ranks, and the width kept free for a passing edge."""

    beside: float = 24.0
    below: float = 26.0
    passing: float = 14.0


def layout(sizes: Sequence[Point], edges: Sequence[tuple[int, int]], spacing: Spacing | None = None) -> Layout:
    """Lays out boxes of (width, height), and edges between them as (from, to).

    Boxes of one rank stand beside each other in a row, their upper sides in line. The same graph has the same layout.
    Raises ValueError for a graph with a cycle, and for an edge to a box that is not there.
    """
    space = spacing or Spacing()
    ranks = _ranks(len(sizes), edges)
    chains, widths, rank_of = _chains(sizes, edges, ranks, space)
    links = [link for chain in chains for link in itertools.pairwise(chain)]
    rows = ordered(rank_of, links)
    centers = _centers(rows, links, widths, len(sizes), _main_path(sizes, edges, ranks), space)
    left = min((center - width / 2 for center, width in zip(centers, widths, strict=True)), default=0.0)
    centers = [center - left for center in centers]
    tops, bottoms = _heights(rows, sizes, space)
    corners = tuple((centers[box] - width / 2, tops[ranks[box]]) for box, (width, _) in enumerate(sizes))
    return Layout(
        sizes=tuple(sizes),
        corners=corners,
        routes=tuple(_route(chain, sizes, centers, rank_of, tops, bottoms) for chain in chains),
        width=max((center + width / 2 for center, width in zip(centers, widths, strict=True)), default=0.0),
        height=max(bottoms, default=0.0),
    )


def _ranks(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """Returns the length of the longest path to each box; one without any before it stands just above its first."""
    after: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for start, end in edges:
        if not (0 <= start < count and 0 <= end < count):
            raise ValueError(f"edge {start} -> {end}: there are boxes 0 to {count - 1}")
        after[start].append(end)
        waiting[end] += 1
    sources = [box for box in range(count) if not waiting[box]]
    ranks, order = [0] * count, list(sources)
    for box in order:
        for end in after[box]:
            ranks[end] = max(ranks[end], ranks[box] + 1)
            waiting[end] -= 1
            if not waiting[end]:
                order.append(end)
    if len(order) < count:
        left = sorted(set(range(count)) - set(order))
        raise ValueError(f"the graph has a cycle before boxes {left}: only a graph without can be laid out in ranks")
    for box in sources:
        if after[box]:
            ranks[box] = min(ranks[end] for end in after[box]) - 1
    return ranks


def _main_path(sizes: Sequence[Point], edges: Sequence[tuple[int, int]], ranks: Sequence[int]) -> set[int]:
    """Returns the boxes of the path that has the largest area of boxes."""
    best = [width * height for width, height in sizes]
    before: dict[int, int] = {}
    for start, end in sorted(edges, key=lambda edge: (ranks[edge[1]], edge)):
        area = best[start] + sizes[end][0] * sizes[end][1]
        if area > best[end]:
            best[end], before[end] = area, start
    if not best:
        return set()
    path = [max(range(len(sizes)), key=lambda box: best[box])]
    while path[-1] in before:
        path.append(before[path[-1]])
    return set(path)


def _chains(
    sizes: Sequence[Point], edges: Sequence[tuple[int, int]], ranks: Sequence[int], space: Spacing
) -> tuple[list[list[int]], list[float], list[int]]:
    """Returns for each edge its boxes with stand-ins between, and the width and the rank of boxes and stand-ins."""
    widths, rank_of = [width for width, _ in sizes], list(ranks)
    chains = []
    for start, end in edges:
        chain = [start]
        for rank in range(ranks[start] + 1, ranks[end]):
            chain.append(len(widths))
            widths.append(space.passing)
            rank_of.append(rank)
        chains.append([*chain, end])
    return chains, widths, rank_of


def _heights(rows: Sequence[Rank], sizes: Sequence[Point], space: Spacing) -> tuple[list[float], list[float]]:
    tops, bottoms, below = [], [], 0.0
    for row in rows:
        tops.append(below)
        bottoms.append(below + max((sizes[box][1] for box in row if box < len(sizes)), default=0.0))
        below = bottoms[-1] + space.below
    return tops, bottoms


def _route(
    chain: Sequence[int],
    sizes: Sequence[Point],
    centers: Sequence[float],
    rank_of: Sequence[int],
    tops: Sequence[float],
    bottoms: Sequence[float],
) -> tuple[Point, ...]:
    """Returns the points of an edge: straight down through every rank, and aside only between two."""
    first, *passed, last = chain
    top = tops[rank_of[first]] + sizes[first][1]
    points = [(centers[first], top)]
    if bottoms[rank_of[first]] > top:
        points.append((centers[first], bottoms[rank_of[first]]))
    for stand_in in passed:
        rank = rank_of[stand_in]
        points += [(centers[stand_in], tops[rank]), (centers[stand_in], bottoms[rank])]
    return (*points, (centers[last], tops[rank_of[last]]))


def _centers(
    rows: Sequence[Rank],
    links: Sequence[tuple[int, int]],
    widths: Sequence[float],
    boxes: int,
    main: set[int],
    space: Spacing,
) -> list[float]:
    beside: list[list[tuple[int, float]]] = [[] for _ in widths]
    for start, end in links:
        passing = (start >= boxes) + (end >= boxes)
        weight = (_BOXES, _BENDING, _PASSING)[passing]
        beside[start].append((end, weight))
        beside[end].append((start, weight))
    offsets = [_offsets(row, widths, space) for row in rows]
    centers = [0.0] * len(widths)
    for row, offset in zip(rows, offsets, strict=True):
        for box, place in zip(row, offset, strict=True):
            centers[box] = place
    for sweep in range(SWEEPS):
        order = range(len(rows)) if sweep % 2 == 0 else reversed(range(len(rows)))
        for number in order:
            _settle(rows[number], offsets[number], beside, main, centers)
    return centers


def _offsets(row: Rank, widths: Sequence[float], space: Spacing) -> list[float]:
    """Returns where the boxes of a row have their centers when they stand as close as they may."""
    found: list[float] = []
    for before, box in zip((None, *row), row, strict=False):
        apart = 0.0 if before is None else found[-1] + (widths[before] + widths[box]) / 2 + space.beside
        found.append(apart)
    return found


def _settle(
    row: Rank,
    offsets: Sequence[float],
    beside: Sequence[Sequence[tuple[int, float]]],
    main: set[int],
    centers: list[float],
) -> None:
    """Moves the boxes of a row to where their neighbours would have them, as far as they do not meet."""
    blocks: list[tuple[float, float, int]] = []
    for box, offset in zip(row, offsets, strict=True):
        weight = sum(weight for _, weight in beside[box])
        wanted = sum(centers[other] * part for other, part in beside[box]) / weight if weight else centers[box]
        if box in main:
            wanted, weight = 0.0, _MAIN
        mean, total, count = wanted - offset, weight or 1.0, 1
        while blocks and blocks[-1][0] > mean:
            other, mass, more = blocks.pop()
            mean = (mean * total + other * mass) / (total + mass)
            total, count = total + mass, count + more
        blocks.append((mean, total, count))
    shifts = [mean for mean, _, count in blocks for _ in range(count)]
    for box, offset, shift in zip(row, offsets, shifts, strict=True):
        centers[box] = offset + shift
