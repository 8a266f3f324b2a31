"""What the lines of a profile cost: totals, shares, and the part of it that is the profiler's own."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.data.metric import STEP
from bench.data.profile import Function, Line, Profile

# What stays of a line's time at least. Events in plain Python cost less than those inside of torch's calls, so that
# their mean takes too much from it; tracing makes plain Python two to three times slower.
LEAST = 1 / 3


@dataclass(frozen=True, kw_only=True)
class LineCost:
    """One line: `seconds` in all profiled steps, as recorded; `share` of its function's; `step_seconds` corrected.

    `step_seconds` is the median of a step, less what the profiler's own work took in it.
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
    """What profiling costs: a profiled step and a plain one, in seconds, and what one event of tracing costs."""

    plain: float
    profiled: float
    event_seconds: float


def overhead(profile: Profile) -> Overhead:
    """Returns a profile's own cost: medians over replicates of the medians over steps that were taken in turn.

    A line profiler works at each event of Python's tracing, and nowhere else. So the difference of the two kinds of
    step, divided by a step's events, is what an event costs, and a line has as much of it as events happen under it.
    """
    plain, profiled = (
        [statistics.median(times[STEP]) for times in found]
        for found in zip(*((one.plain, one.profiled) for one in profile.replicates), strict=True)
    )
    extra = statistics.median(after - before for before, after in zip(plain, profiled, strict=True))
    return Overhead(
        plain=statistics.median(plain),
        profiled=statistics.median(profiled),
        event_seconds=max(0.0, extra / profile.events) if profile.events else 0.0,
    )


def costs(profile: Profile) -> list[FunctionCost]:
    """Returns the functions of a profile in the order of their roles; none for a profile without replicates."""
    if not profile.replicates:
        return []
    event_seconds = overhead(profile).event_seconds
    return [_function(function, event_seconds) for function in profile.functions]


def steps(profile: Profile) -> int:
    """Returns how many steps were profiled."""
    return sum(len(one.profiled[STEP]) for one in profile.replicates)


def corrected(line: Line, event_seconds: float) -> list[list[float]]:
    """Returns a line's seconds by replicate and step, less what the profiler's own work took in it."""
    own = line.events * event_seconds
    return [[max(LEAST * seconds, seconds - own) for seconds in taken] for taken in line.seconds]


def _function(function: Function, event_seconds: float) -> FunctionCost:
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
                step_seconds=typical(corrected(line, event_seconds)),
            )
            for line, seconds in zip(function.lines, recorded, strict=True)
        ),
    )


def typical(replicates: Sequence[Sequence[float]]) -> float:
    """Returns the median over replicates of their medians over steps; 0 where no step ran it."""
    medians = [statistics.median(steps) for steps in replicates if steps]
    return statistics.median(medians) if medians else 0.0
