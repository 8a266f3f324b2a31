"""The replicates of one subject, put together line by line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bench.data.profile import Function, Line, Operation


def merged(taken: Sequence[tuple[Function, ...]]) -> tuple[Function, ...]:
    """Puts the replicates of functions together.

    A replicate that did not see a function, or saw it in a file that has changed since, has no seconds in its lines.
    """
    known: dict[tuple[str, int, str], Function] = {}
    for functions in taken:
        for function in functions:
            known.setdefault(_place(function), function)
    found = []
    for place, function in known.items():
        same = [
            next((one for one in functions if _place(one) == place and one.sha256 == function.sha256), None)
            for functions in taken
        ]
        lines = [
            _line(line, [one.lines[index] if one else None for one in same])
            for index, line in enumerate(function.lines)
        ]
        found.append(replace(function, lines=tuple(lines)))
    return tuple(found)


def merged_events(taken: Sequence[dict[str, float]]) -> dict[str, float]:
    """Returns the mean of events, by phase; a phase that a replicate did not count had none there."""
    names = dict.fromkeys(name for one in taken for name in one)
    return {name: round(sum(one.get(name, 0.0) for one in taken) / len(taken), 2) for name in names}


def _place(function: Function) -> tuple[str, int, str]:
    return function.file, function.first, function.name


def _line(line: Line, taken: Sequence[Line | None]) -> Line:
    have = [one for one in taken if one is not None]
    # A line that was there and did not run took no time; one that was not there is not known.
    seconds = tuple((one.seconds[0] if one.seconds else (0.0,)) if one else () for one in taken)
    hooks = dict.fromkeys(name for one in have for name in one.hooks)
    operations = dict.fromkeys(operation.name for one in have for operation in one.operations)
    return replace(
        line,
        hits=sum(one.hits for one in have),
        seconds=seconds if any(one.hits for one in have) else (),
        events=merged_events([one.events for one in have]),
        hooks={name: round(sum(one.hooks.get(name, 0.0) for one in have) / len(have), 9) for name in hooks},
        operations=tuple(
            _mean([found for one in have for found in one.operations if found.name == name], len(have))
            for name in operations
        ),
    )


def _mean(found: Sequence[Operation], count: int) -> Operation:
    return Operation(
        name=found[0].name,
        count=sum(one.count for one in found) / count,
        seconds=round(sum(one.seconds for one in found) / count, 9),
    )
