"""The table of a model's layers as cells: a text each, and the value that it is sorted by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lowbit.deploy.layers import SMALL_INTEGERS, LayerCost
from lowbit.deploy.performance import Performance, Row
from lowbit.deploy.roofline import Bound
from lowbit.deploy.words import ABSENT, GLUE, number, spread
from lowbit.pipeline.statistics import Interval

_SHORT = {"float32": "f32", "float64": "f64", "bfloat16": "bf16", "float16": "f16"}


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, and the value that it is sorted by: None comes last."""

    text: str
    value: float | str | None = None


@dataclass(frozen=True)
class Column:
    """A column of a table: its head, what it means, whether it holds numbers, and how well a table does without it.

    Where there is no room for all columns, those with the highest `spare` are left out first; those with 0 never.
    """

    head: str
    meaning: str
    is_number: bool = True
    spare: int = 0


_COLUMNS = (
    Column("layer", "path of the module, or name of the node", is_number=False),
    Column("kind", "class of the module, or what the node calls", is_number=False, spare=1),
    Column("output", "shape of what it gives", is_number=False, spare=2),
    Column("numbers", "dtype of activations·weights", is_number=False, spare=3),
    Column("Mop", "millions of operations, two for each multiply-accumulate"),
    Column("weights kB", "bytes of weights that it loads"),
    Column("in kB", "bytes of activations that it loads"),
    Column("out kB", "bytes that it stores"),
    Column("op/B", "operations a byte", spare=4),
    Column("ms", "median time"),
    Column("±", "half of its 95 % interval"),
    Column("share", "of the whole forward"),
    Column("bound ms", "the least time on this machine, by peak and bandwidth"),
    Column("reached", "bound / ms; beyond 100 % caches helped"),
    Column("by", "what sets the bound, compute or memory"),
)
_EXPLAINED = frozenset({"numbers", "Mop", "op/B", "bound ms", "reached", "by", "target ms"})
_PREDICTED = (
    Column("target ms", "time on the target, at its peak or its bandwidth"),
    Column("target by", "what sets it"),
)


def columns(found: Performance) -> tuple[Column, ...]:
    """Returns the columns of a model's table."""
    return (*_COLUMNS, *_PREDICTED) if found.target is not None else _COLUMNS


def legend(shown: Sequence[Column]) -> str:
    """Returns what the heads of columns mean that do not say it themselves."""
    return "; ".join(f"{column.head}: {column.meaning}" for column in shown if column.head in _EXPLAINED)


def rows(found: Performance) -> list[tuple[Cell, ...]]:
    """Returns the cells of each layer, and of the glue where it was timed."""
    made = [_cells(row, predicts=found.target is not None) for row in found.rows]
    if found.glue is not None:
        empty = [Cell(ABSENT)] * len(columns(found))
        empty[0], empty[1] = Cell(GLUE, GLUE), Cell("Python", "Python")
        empty[9:12] = [*_time(found.glue), _percent(found.glue.center / found.latency)]
        made.append(tuple(empty))
    return made


def _cells(row: Row, *, predicts: bool) -> tuple[Cell, ...]:
    cost = row.cost
    cells = [
        Cell(cost.name, cost.name),
        Cell(cost.kind, cost.kind),
        Cell("x".join(map(str, cost.shape)) or ABSENT, float(len(cost.shape))),
        Cell(*[_numbers(cost)] * 2),
        _operations(cost),
        _number(cost.weight_bytes / 1e3),
        _number(sum(cost.inputs.values()) / 1e3),
        _number(cost.stored / 1e3),
        _number(cost.intensity),
        *_time(row.time),
        _percent(row.share),
        *_bound(row.bound),
        _percent(row.reached),
        Cell(row.bound.by, row.bound.by) if row.bound else Cell(ABSENT),
    ]
    if predicts:
        cells += [*_bound(row.predicted), Cell(row.predicted.by if row.predicted else ABSENT)]
    return tuple(cells)


def _operations(cost: LayerCost) -> Cell:
    if cost.uncounted:
        return Cell(f"{number(cost.operations / 1e6)}?", cost.operations / 1e6)
    return _number(cost.operations / 1e6)


def _numbers(cost: LayerCost) -> str:
    # Between layers, what was there before are scales and zero points.
    weights = "" if cost.is_between else _largest(cost.weights)
    return "·".join(filter(None, (_largest(cost.inputs), weights))) or ABSENT


def _largest(sizes: Mapping[str, int]) -> str:
    dtype = max(sizes, key=lambda name: sizes[name], default="")
    return "i8" if dtype in SMALL_INTEGERS else _SHORT.get(dtype, dtype)


def _time(time: Interval | None) -> Sequence[Cell]:
    if time is None:
        return Cell(ABSENT), Cell(ABSENT)
    return _milliseconds(time.center), _percent(spread(time))


def _bound(found: Bound | None) -> Sequence[Cell]:
    return (Cell(ABSENT),) if found is None else (_milliseconds(found.seconds),)


def _milliseconds(seconds: float) -> Cell:
    digits = 3 if seconds >= 1e-5 else 5
    return Cell(f"{1e3 * seconds:.{digits}f}" if seconds else "0", 1e3 * seconds)


def _number(value: float | None) -> Cell:
    return Cell(ABSENT) if value is None else Cell(number(value), value)


def _percent(value: float | None) -> Cell:
    if value is None:
        return Cell(ABSENT)
    return Cell(f"{100 * value:.{1 if value < 1 else 0}f} %", 100 * value)
