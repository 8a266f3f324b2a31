"""What is booked on lines beside their time: events, hooks and operations, in steps of their own."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import CodeType

from bench.data.profile import Line, Operation
from bench.profile.attribution import Counts, LineOperations, Spot, count_events, timed_hooks
from bench.run.build import Step
from bench.run.counters import phases

# In how many steps hooks, and in how many more operations are booked; none of them is one whose lines are timed.
STEPS = 4


@dataclass(frozen=True, kw_only=True)
class Booked:
    """Events, hooks' seconds and operations by line; `total` are all events of a step, by phase."""

    events: Counts
    total: dict[str, float]
    hooks: dict[Spot, dict[str, float]]
    operations: dict[Spot, tuple[Operation, ...]]

    def line(self, code: CodeType, line: Line, taken: Sequence[tuple[int, float]]) -> Line:
        """Returns a line with what was booked on it, and with its hits and seconds, step by step."""
        spot = (code, line.number)
        hits = sum(hit for hit, _ in taken)
        return Line(
            number=line.number,
            text=line.text,
            hits=hits,
            seconds=(tuple(round(seconds, 9) for _, seconds in taken),) if hits else (),
            events=self.events.get(spot, {}),
            hooks=self.hooks.get(spot, {}),
            operations=self.operations.get(spot, ()),
        )


def book(step: Step, codes: Collection[CodeType], index: int) -> Booked:
    """Runs a few steps on the batches from an index on, and books what happens under each line."""
    events, total = count_events(codes, phases(step, index))
    hooks = [_hooks(step, codes, index + 1 + number) for number in range(STEPS)]
    operations = [_operations(step, codes, index + 1 + STEPS + number) for number in range(STEPS)]
    return Booked(
        events=events,
        total=total,
        hooks={
            spot: {name: typical([found.get(spot, {}).get(name, 0.0) for found in hooks]) for name in names}
            for spot, names in _names(hooks).items()
        },
        operations={
            spot: tuple(_operation(name, [found.get(spot, {}).get(name, []) for found in operations]) for name in names)
            for spot, names in _names(operations).items()
        },
    )


def typical(seconds: Sequence[float]) -> float:
    """Returns what something takes a step, if it takes the given seconds in some steps and is not there in others."""
    there = [value for value in seconds if value > 0]
    return statistics.median(there) * len(there) / len(seconds) if there else 0.0


def _names(found: Sequence[Mapping[Spot, Mapping[str, object]]]) -> dict[Spot, dict[str, None]]:
    names: dict[Spot, dict[str, None]] = {}
    for one in found:
        for spot, booked in one.items():
            names.setdefault(spot, {}).update(dict.fromkeys(booked))
    return names


def _hooks(step: Step, codes: Collection[CodeType], index: int) -> dict[Spot, dict[str, float]]:
    with timed_hooks(step.module, codes) as seconds:
        step.run(index)
    return seconds


def _operations(step: Step, codes: Collection[CodeType], index: int) -> dict[Spot, dict[str, list[float]]]:
    operations = LineOperations(codes)
    with operations:
        step.run(index)
    return operations.found


def _operation(name: str, by_step: Sequence[Sequence[float]]) -> Operation:
    return Operation(
        name=name,
        count=statistics.fmean(map(len, by_step)),
        seconds=round(typical([sum(seconds) for seconds in by_step]), 9),
    )
