"""Two models beside each other, layer by layer: modules by their path, what stands between them in one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lowbit.deploy.cells import Cell, Column
from lowbit.deploy.performance import Performance, Row
from lowbit.deploy.words import ABSENT, GLUE, number

BETWEEN = "(between layers)"
ALL = "(whole)"
COLUMNS = (
    Column("layer", "path of the module in both models", is_number=False),
    Column("A ms", "median time in A"),
    Column("B ms", "median time in B"),
    Column("A/B", "ratio of the times"),
    Column("A Mop", "millions of operations in A"),
    Column("B Mop", "millions of operations in B"),
    Column("A kB", "bytes that it loads and stores in A"),
    Column("B kB", "bytes that it loads and stores in B"),
    Column("bytes A/B", "ratio of these bytes"),
    Column("weights A/B", "ratio of the bytes of weights"),
)


@dataclass(frozen=True, kw_only=True)
class Side:
    """What a row costs in one of two models; seconds are None where it was timed as a whole only."""

    seconds: float | None
    operations: int
    moved: int
    weights: int


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A row of two models; a side is None where the model has no such layer: it was folded into another, or split."""

    name: str
    left: Side | None
    right: Side | None


def pairs(left: Performance, right: Performance) -> list[Pair]:
    """Returns the layers of two models in their order, then what is between layers, the glue, and the whole."""
    first, second = _layers(left), _layers(right)
    found = [Pair(name=name, left=first.get(name), right=second.get(name)) for name in _merged(first, second)]
    between = [_between(each) for each in (left, right)]
    found.append(Pair(name=BETWEEN, left=between[0], right=between[1]))
    if left.glue is not None or right.glue is not None:
        glue = [
            None if each.glue is None else Side(seconds=each.glue.center, operations=0, moved=0, weights=0)
            for each in (left, right)
        ]
        found.append(Pair(name=GLUE, left=glue[0], right=glue[1]))
    whole = [
        Side(seconds=each.latency, operations=each.operations, moved=each.loaded + each.stored, weights=each.weights)
        for each in (left, right)
    ]
    found.append(Pair(name=ALL, left=whole[0], right=whole[1]))
    return found


def rows(found: Sequence[Pair]) -> list[tuple[Cell, ...]]:
    """Returns the cells of pairs, under COLUMNS."""
    return [_cells(pair) for pair in found]


def legend(left: Performance, right: Performance) -> str:
    """Returns what A and B are, and how their rows belong together."""
    return (
        f"A: {left.name}; B: {right.name}; both in turns in one process. {BETWEEN}: additions, roundings and the like, "
        f"which belong to no module. {ABSENT}: folded into another layer, or not there."
    )


def _layers(found: Performance) -> dict[str, Side]:
    return {row.cost.name: _side([row]) for row in found.rows if not row.cost.is_between}


def _between(found: Performance) -> Side:
    return _side([row for row in found.rows if row.cost.is_between])


def _side(rows: Sequence[Row]) -> Side:
    times = [row.time.center for row in rows if row.time is not None]
    return Side(
        seconds=sum(times) if times else None,
        operations=sum(row.cost.operations for row in rows),
        moved=sum(row.cost.loaded + row.cost.stored for row in rows),
        weights=sum(row.cost.weight_bytes for row in rows),
    )


def _merged(first: dict[str, Side], second: dict[str, Side]) -> list[str]:
    """Returns all names; those of the second only stand before the common one that they come before."""
    found: list[str] = []
    waiting = list(second)
    for name in first:
        if name in second:
            place = waiting.index(name) if name in waiting else -1
            found += [other for other in waiting[: max(place, 0)] if other not in first]
            waiting = waiting[place + 1 :] if place >= 0 else waiting
        found.append(name)
    return found + [name for name in waiting if name not in first]


def _cells(pair: Pair) -> tuple[Cell, ...]:
    left, right = pair.left, pair.right
    sides = (left, right)
    seconds = [side.seconds if side else None for side in sides]
    return (
        Cell(pair.name, pair.name),
        *(Cell(ABSENT) if each is None else Cell(f"{1e3 * each:.3f}", 1e3 * each) for each in seconds),
        _ratio(seconds[0], seconds[1]),
        *(Cell(number(side.operations / 1e6), side.operations) if side else Cell(ABSENT) for side in sides),
        *(Cell(number(side.moved / 1e3), side.moved) if side else Cell(ABSENT) for side in sides),
        _ratio(left.moved if left else None, right.moved if right else None),
        _ratio(left.weights if left else None, right.weights if right else None),
    )


def _ratio(left: float | None, right: float | None) -> Cell:
    if left is None or not right:
        return Cell(ABSENT)
    return Cell(f"{left / right:.3f}", left / right)
