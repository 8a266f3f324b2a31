"""What the lines of a profile cost: totals, shares, and the part of it that is the profiler's own."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.data.metric import STEP
from bench.data.profile import Function, Line, Profile

# What stays of a line's time at least. Events in plain Python cost less than the mean of their phase, which would take
# too much from a line of nothing else; tracing makes such lines two to three times slower.
LEAST = 1 / 3


@dataclass(frozen=True, kw_only=True)
class LineCost:
    """One line: `seconds` in all profiled steps, as recorded; `share` of its function's; `step_seconds` corrected.

    `step_seconds` is what it takes in a step, less what the profiler's own work took.
    """

    line: Line
    seconds: float
    share: float
    step_seconds: float

    @property
    def per_hit(self) -> float:
        """Recorded seconds a hit; 0 for a line that never ran."""
        return self.seconds / self.line.hits if self.line.hits else 0.0


@dataclass(frozen=True, kw_only=True)
class FunctionCost:
    """A function's lines, all of them, and the recorded seconds they took together."""

    function: Function
    seconds: float
    lines: tuple[LineCost, ...]

    @property
    def ran(self) -> bool:
        """Says whether a line of it ever ran."""
        return any(cost.line.hits for cost in self.lines)


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """What profiling costs: seconds of a profiled step and of a plain one, and of an event of tracing, by phase."""

    plain: float
    profiled: float
    event_seconds: dict[str, float]

    def of(self, line: Line) -> float:
        """Returns what the profiler's own work took of a line, in seconds a step."""
        return sum(count * self.event_seconds.get(phase, 0.0) for phase, count in line.events.items())


def overhead(profile: Profile) -> Overhead:
    """Returns a profile's own cost: medians over replicates of the medians over steps that were taken in turn.

    A line profiler works at each event of Python's tracing, and nowhere else. So the difference of the two kinds of
    step, divided by a step's events, is what an event costs, and a line has as much of it as events happen under it.
    Each phase has its own price: an event in the middle of torch's calls costs more than one in plain Python.
    """
    plain, profiled = (
        statistics.median(statistics.median(times[STEP]) for times in found)
        for found in ([one.plain for one in profile.replicates], [one.profiled for one in profile.replicates])
    )
    return Overhead(
        plain=plain,
        profiled=profiled,
        event_seconds={
            phase: max(0.0, _extra(profile, phase) / events) for phase, events in profile.events.items() if events
        },
    )


def _extra(profile: Profile, phase: str) -> float:
    return statistics.median(
        statistics.median(one.profiled[phase]) - statistics.median(one.plain[phase])
        for one in profile.replicates
        if phase in one.plain
    )


def costs(profile: Profile) -> list[FunctionCost]:
    """Returns the functions of a profile in the order of their roles; none for a profile without replicates."""
    if not profile.replicates:
        return []
    own = overhead(profile)
    return [_function(function, own) for function in profile.functions]


def steps(profile: Profile) -> int:
    """Returns how many steps were profiled."""
    return sum(len(one.profiled[STEP]) for one in profile.replicates)


def corrected(line: Line, own: Overhead) -> list[list[float]]:
    """Returns a line's seconds by replicate and step, less what the profiler's own work took in it."""
    extra = own.of(line)
    return [[max(LEAST * seconds, seconds - extra) for seconds in taken] for taken in line.seconds]


def _function(function: Function, own: Overhead) -> FunctionCost:
    recorded = [sum(sum(taken) for taken in line.seconds) for line in function.lines]
    total = sum(recorded)
    return FunctionCost(
        function=function,
        seconds=total,
        lines=tuple(
            LineCost(
                line=line,
                seconds=seconds,
                share=seconds / total if total else 0.0,
                step_seconds=typical(corrected(line, own)),
            )
            for line, seconds in zip(function.lines, recorded, strict=True)
        ),
    )


def typical(replicates: Sequence[Sequence[float]]) -> float:
    """Returns seconds a step: the median over replicates; 0 where no step ran it."""
    found = [a_step(taken) for taken in replicates if taken]
    return statistics.median(found) if found else 0.0


def a_step(taken: Sequence[float]) -> float:
    """Returns what a line takes a step: the median of the steps that ran it, times how often one does."""
    ran = [seconds for seconds in taken if seconds > 0]
    return statistics.median(ran) * len(ran) / len(taken) if ran else 0.0
