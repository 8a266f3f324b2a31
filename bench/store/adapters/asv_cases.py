"""The cases in asv's results, layout version 2: a row a benchmark, a value for each combination of its parameters.

The last parameter changes fastest. A column may end early, and a row before its last columns.
"""

from __future__ import annotations

import ast
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.errors import StepbenchError

_TYPES = {"time": "time", "timeraw": "time", "peakmem": "peakmemory", "mem": "memory", "track": "track"}
_UNITS = {"time": "seconds", "peakmemory": "bytes", "memory": "bytes"}
# What a record holds of a row; all other columns go to the side file.
_HELD = frozenset({"result", "samples"})
MOST_CASES = 100_000


@dataclass(frozen=True, kw_only=True)
class Case:
    """One combination of the parameters of one benchmark, with its entries by column.

    `per_process` is how many samples each process took, where that is known.
    """

    benchmark: str
    kind: str
    unit: str | None
    version: str
    parameters: dict[str, str]
    entries: dict[str, Any]
    per_process: int | None

    @property
    def rest(self) -> dict[str, Any]:
        """What a record has no place for."""
        return {name: entry for name, entry in self.entries.items() if name not in _HELD and entry is not None}

    @property
    def values(self) -> list[Any]:
        """The parameters themselves, where they are literals; asv stores what repr() says of them."""
        return [_literal(value) for value in self.parameters.values()]


def cases(name: str, columns: list[Any], row: Any, known: dict[str, Any]) -> Iterator[Case]:
    """Yields a row's cases; `known` is what benchmarks.json says of it. Raises StepbenchError for what is no row."""
    if not isinstance(row, list) or len(row) > len(columns):
        raise StepbenchError("a row that does not fit the columns")
    whole = dict(zip(map(str, columns), row, strict=False))
    axes = whole.pop("params", None) or []
    if not isinstance(axes, list) or not all(isinstance(axis, list) for axis in axes):
        raise StepbenchError("parameters that are no lists")
    count = math.prod(map(len, axes))
    result = whole.get("result")
    if count > MOST_CASES or (result is not None and (not isinstance(result, list) or len(result) != count)):
        raise StepbenchError("results that do not fit the parameters")
    # A benchmark that has changed since is described by the file of that time, which is no longer there.
    known = known if known.get("version") == whole.get("version") else {}
    kind, unit = _kind(name, known)
    names = _names(known, len(axes))
    for index, values in enumerate(itertools.product(*axes)):
        yield Case(
            benchmark=name,
            kind=kind,
            unit=unit,
            version=text(whole.get("version")),
            parameters=dict(zip(names, map(text, values), strict=True)),
            entries={
                column: entry[index] if isinstance(entry, list) and len(entry) == count else entry
                for column, entry in whole.items()
                # What belongs to the whole row stands with its first case.
                if index == 0 or column != "profile"
            },
            per_process=_per_process(known),
        )


def text(value: Any) -> str:
    """Returns a value of a file as text, nothing for none."""
    return "" if value is None else str(value)


def _kind(name: str, known: dict[str, Any]) -> tuple[str, str | None]:
    prefix = name.rpartition(".")[2].partition("_")[0]
    kind, unit = known.get("type"), known.get("unit")
    kind = kind if isinstance(kind, str) else _TYPES.get(prefix, "track")
    return kind, unit if isinstance(unit, str) else _UNITS.get(kind)


def _names(known: dict[str, Any], axes: int) -> list[str]:
    given = known.get("param_names")
    names = [text(name) for name in given] if isinstance(given, list) else []
    return names if len(names) == len(set(names)) == axes else [f"parameter {number}" for number in range(1, axes + 1)]


def _per_process(known: dict[str, Any]) -> int | None:
    """Returns how many samples each process took, where benchmarks.json fixes it; its rounds are processes."""
    rounds, repeat = known.get("rounds"), known.get("repeat")
    fixed = isinstance(rounds, int) and isinstance(repeat, int) and rounds > 0 and repeat > 0
    return repeat if fixed else None


def _literal(value: str) -> Any:
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        # What repr() wrote of other objects, such as slices, is no literal; it stays a text.
        return value
