"""The difference of two profiles: which lines changed, by how much, and which of them explain it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.analyze.align import Aligned, Kind, align
from bench.analyze.change import Change, change
from bench.analyze.lines import Overhead, corrected, overhead, typical
from bench.analyze.multiplicity import holm
from bench.data.metric import STEP
from bench.data.profile import Function, Line, Profile

# Risk that any line of two equal profiles is said to differ, and the smallest change worth a word: a share of the step,
# and seconds, below which where code happens to lie makes a difference.
ALPHA = 0.01
RELEVANT = 1e-4
LEAST_S = 2e-7
EXPLAINED = 0.8


@dataclass(frozen=True, kw_only=True)
class LineDiff:
    """A line on both sides, or on one; `differs` where its change is neither noise nor too small to matter.

    `share` is its part of all changes of its function's lines that are sure, by size.
    """

    kind: Kind
    base: Line | None
    head: Line | None
    base_seconds: float
    head_seconds: float
    change: Change
    differs: bool
    share: float

    @property
    def text(self) -> str:
        """The line itself."""
        line = self.head or self.base
        return line.text if line else ""


@dataclass(frozen=True, kw_only=True)
class FunctionDiff:
    """A function on both sides, or on one, and those of its lines that ran on either; `seconds` is their sum."""

    base: Function | None
    head: Function | None
    seconds: float
    lines: tuple[LineDiff, ...]

    @property
    def edited(self) -> list[LineDiff]:
        """The lines that are on one side only, or have moved."""
        return [line for line in self.lines if line.kind != "same"]

    @property
    def sure(self) -> float:
        """The sum of the changes of the lines that differ, in seconds a step."""
        return sum(line.change.seconds for line in self.lines if line.differs)

    @property
    def explaining(self) -> list[LineDiff]:
        """The lines that explain at least 80 % of what changed, largest first; none where no line differs."""
        found: list[LineDiff] = []
        for line in sorted((line for line in self.lines if line.differs), key=lambda line: -line.share):
            if sum(one.share for one in found) >= EXPLAINED:
                break
            found.append(line)
        return found


@dataclass(frozen=True, kw_only=True)
class ProfileDiff:
    """Two profiles, their functions' differences with the largest first, and the change of the plain step.

    `paired` says whether both were taken together, step by step in turn.
    """

    base: Profile
    head: Profile
    paired: bool
    step: Change
    step_seconds: tuple[float, float]
    functions: tuple[FunctionDiff, ...]


def diff(base: Profile, head: Profile) -> ProfileDiff:
    """Compares two profiles that have replicates; those of one session pair by pair."""
    paired = base.session == head.session
    costs = (overhead(base), overhead(head))
    own = _both(*costs)
    floor = max(RELEVANT * costs[0].plain, LEAST_S)
    found = [_function(*pair, paired=paired, own=own) for pair in _matched(base.functions, head.functions)]
    rows = {(number, index): row for number, one in enumerate(found) for index, row in enumerate(one.lines)}
    capitals = {key: -math.log(max(row.change.p, 1e-300)) for key, row in rows.items()}
    real = holm(capitals, dict.fromkeys(rows, 1 / len(rows)), ALPHA) if rows else set()
    differing = {key for key in real if abs(rows[key].change.seconds) >= floor}
    functions = [
        _judged(one, {index for which, index in differing if which == number}) for number, one in enumerate(found)
    ]
    # Means, and not medians: work that is done every few steps is part of the step.
    plain = [[[statistics.fmean(one.plain[STEP])] for one in side.replicates] for side in (base, head)]
    return ProfileDiff(
        base=base,
        head=head,
        paired=paired,
        step=change(plain[0], plain[1], paired=paired),
        step_seconds=(_mean(plain[0]), _mean(plain[1])),
        functions=tuple(sorted(functions, key=_rank)),
    )


def _both(base: Overhead, head: Overhead) -> Overhead:
    """Returns one price of an event for both: it costs what it costs, and its noise must not look like a change."""
    phases = dict.fromkeys((*base.event_seconds, *head.event_seconds))
    prices = {
        phase: statistics.fmean(side.event_seconds[phase] for side in (base, head) if phase in side.event_seconds)
        for phase in phases
    }
    return Overhead(plain=base.plain, profiled=base.profiled, event_seconds=prices)


def _mean(replicates: Sequence[Sequence[float]]) -> float:
    return statistics.fmean(value for values in replicates for value in values)


def _rank(one: FunctionDiff) -> tuple[bool, bool, float]:
    """Puts functions with lines that differ first, hooks behind the lines that call them, and large changes up."""
    hook = "hook" in {side.role for side in (one.base, one.head) if side is not None}
    return not one.explaining, hook, -sum(abs(line.change.seconds) for line in one.explaining)


def _matched(base: Sequence[Function], head: Sequence[Function]) -> list[tuple[Function | None, Function | None]]:
    """Pairs functions of one name, then those that are a step's forward or its optimizer's step on either side."""
    left = list(base)
    pairs: list[tuple[Function | None, Function | None]] = []
    for function in head:
        same = [one for one in left if one.name == function.name]
        same += [one for one in left if one.role == function.role and one.role in {"forward", "optimize"}]
        # A pair by role must not take away what has a partner by name.
        same = [one for one in same if one.name == function.name or all(one.name != other.name for other in head)]
        if same:
            left.remove(same[0])
        pairs.append((same[0] if same else None, function))
    return pairs + [(function, None) for function in left]


def _function(base: Function | None, head: Function | None, *, paired: bool, own: Overhead) -> FunctionDiff:
    sides = [[line.text for line in one.lines] if one else [] for one in (base, head)]
    lines = []
    for row in align(*sides):
        pair = _pair(row, base, head)
        if not any(line is not None and line.hits for line in pair):
            continue
        seconds = [corrected(line, own) if line else [] for line in pair]
        lines.append(
            LineDiff(
                kind=row.kind,
                base=pair[0],
                head=pair[1],
                base_seconds=typical(seconds[0]),
                head_seconds=typical(seconds[1]),
                change=change(*seconds, paired=paired),
                differs=False,
                share=0.0,
            )
        )
    return FunctionDiff(base=base, head=head, seconds=sum(line.change.seconds for line in lines), lines=tuple(lines))


def _pair(row: Aligned, base: Function | None, head: Function | None) -> tuple[Line | None, Line | None]:
    return (
        base.lines[row.base] if base is not None and row.base is not None else None,
        head.lines[row.head] if head is not None and row.head is not None else None,
    )


def _judged(one: FunctionDiff, differing: set[int]) -> FunctionDiff:
    total = sum(abs(one.lines[index].change.seconds) for index in differing)
    lines = [
        replace(line, differs=True, share=abs(line.change.seconds) / total) if index in differing else line
        for index, line in enumerate(one.lines)
    ]
    return replace(one, lines=tuple(lines))
