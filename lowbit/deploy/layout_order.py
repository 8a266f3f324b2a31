"""In which order boxes stand beside each other, so that few edges cross."""

from __future__ import annotations

import itertools
from bisect import bisect_right, insort
from collections.abc import Sequence

Rank = tuple[int, ...]
# Down and up again, so often; the best order that was seen is kept.
SWEEPS = 8


def ordered(rank_of: Sequence[int], links: Sequence[tuple[int, int]]) -> list[Rank]:
    """Returns the boxes of each rank from left to right; links go from a rank to the next one.

    Boxes go to the mean place of those that they are linked with in the rank before, and, on the way up, in the rank
    behind; of equal ones the lower number is first.
    """
    count = max(rank_of, default=-1) + 1
    rows: list[list[int]] = [[] for _ in range(count)]
    for box, rank in enumerate(rank_of):
        rows[rank].append(box)
    above: list[list[int]] = [[] for _ in rank_of]
    below: list[list[int]] = [[] for _ in rank_of]
    for start, end in links:
        above[end].append(start)
        below[start].append(end)
    best = [tuple(row) for row in rows]
    least = crossings(best, links)
    for sweep in range(SWEEPS):
        if sweep % 2 == 0:
            for upper, row in itertools.pairwise(rows):
                _sort(row, upper, above)
        else:
            for row, lower in reversed(list(itertools.pairwise(rows))):
                _sort(row, lower, below)
        found = crossings(rows, links)
        if found < least:
            best, least = [tuple(row) for row in rows], found
    return best


def crossings(rows: Sequence[Sequence[int]], links: Sequence[tuple[int, int]]) -> int:
    """Returns how many pairs of links cross."""
    place = {box: number for row in rows for number, box in enumerate(row)}
    rank = {box: number for number, row in enumerate(rows) for box in row}
    between: dict[int, list[tuple[int, int]]] = {}
    for start, end in links:
        between.setdefault(rank[start], []).append((place[start], place[end]))
    total = 0
    for pairs in between.values():
        seen: list[int] = []
        for _, end in sorted(pairs):
            total += len(seen) - bisect_right(seen, end)
            insort(seen, end)
    return total


def _sort(row: list[int], beside: Sequence[int], linked: Sequence[Sequence[int]]) -> None:
    place = {box: float(number) for number, box in enumerate(beside)}
    own = {box: float(number) for number, box in enumerate(row)}

    def barycenter(box: int) -> tuple[float, float]:
        others = [place[other] for other in linked[box]]
        return (sum(others) / len(others) if others else own[box]), own[box]

    row.sort(key=barycenter)
