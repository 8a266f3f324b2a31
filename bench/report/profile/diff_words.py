"""What every report of the difference of two profiles says, apart from how it is drawn."""

from __future__ import annotations

from bench.analyze.change import Change
from bench.analyze.line_diff import FunctionDiff, LineDiff, ProfileDiff
from bench.report import units
from bench.report.plain import one_line
from bench.report.profile import words


def change(found: Change) -> str:
    """Returns a change with its interval: `+1.20 ms (+1.10 ms to +1.30 ms)`."""
    interval = "" if found.low is None or found.high is None else f" ({signed(found.low)} to {signed(found.high)})"
    return f"{signed(found.seconds)}{interval}"


def signed(seconds: float) -> str:
    """Returns a difference of times with its sign."""
    return f"{'+' if seconds >= 0 else '−'}{units.seconds(abs(seconds))}"  # noqa: RUF001 - the sign of a number


def step(found: ProfileDiff) -> str:
    """Returns what became of the whole step without the profiler, and how much of it the named lines are."""
    before, after = found.step_seconds
    text = (
        f"step without the profiler: {units.seconds(before)} before, {units.seconds(after)} after, {change(found.step)}"
    )
    low, high = found.step.low, found.step.high
    if low is None or high is None or low <= 0 <= high:
        return text
    sure = sum(one.sure for one in found.functions if not is_hook(one))
    return f"{text}; the lines named are {signed(sure)} of it, the rest lies in what was not profiled, or in the noise"


def is_hook(one: FunctionDiff) -> bool:
    """Says whether a function runs inside of lines of others, so that its time is theirs too."""
    return any(side is not None and side.role in {"hook", "marked"} for side in (one.base, one.head))


def environments(found: ProfileDiff) -> list[str]:
    """Returns where both profiles were taken: on one line where that is the same place."""
    sides = [words.where_taken(one) for one in (found.base, found.head)]
    if found.paired and found.base.commit == found.head.commit:
        return sides[:1]
    return [f"before: {sides[0]}", f"after: {sides[1]}"]


def limits(found: ProfileDiff) -> list[str]:
    """Returns what a reader of a difference must know, once each."""
    own = [f"{words.name(one)}: {words.own_cost(one)}" for one in (found.base, found.head)]
    warned = [f"{words.name(one)}: {text}" for one in (found.base, found.head) for text in words.warnings(one)]
    settings = [
        (one.environment.threads, one.environment.torch, one.environment.cpu) for one in (found.base, found.head)
    ]
    unlike = ["threads, torch or processor differ: so may every line, whatever its code"] * (settings[0] != settings[1])
    return list(dict.fromkeys([*own, *warned, *unlike]))


def summary(found: ProfileDiff) -> list[str]:
    """Returns what changed: a sentence for each function, largest change first, and below it the lines by name."""
    sentences = [text for one in found.functions if one.explaining for text in _sentences(one, found)]
    unsure = [
        f"  {change(line.change)}: {where(line)}, {words.shortened(line.text)}, which {_doubt(line)}"
        for one in found.functions
        for line in one.edited
        if not line.differs
    ]
    if sentences:
        return sentences
    if min(len(found.base.replicates), len(found.head.replicates)) < 2:
        return [
            "one replicate says nothing of noise: no line can be said to differ; give --replicates 2 or more",
            *unsure,
        ]
    reaches = [
        (max(abs(line.change.low), abs(line.change.high)), line)
        for one in found.functions
        for line in one.lines
        if line.change.low is not None and line.change.high is not None
    ]
    if not reaches:
        return ["no line differs: none ran on either side"]
    reach, widest = max(reaches, key=lambda one: one[0])
    widest_name = f"{where(widest)}, {words.shortened(widest.text)}"
    seen = f"{widest_name}, is known to within {units.seconds(reach)} a step, all others closer"
    return [f"no line differs; {seen}", *unsure]


def _doubt(line: LineDiff) -> str:
    low, high = line.change.low, line.change.high
    return "may be noise" if low is None or high is None or low <= 0 <= high else "is small, or may be noise"


def _sentences(one: FunctionDiff, found: ProfileDiff) -> list[str]:
    lines = one.explaining
    share = 100 * one.sure / found.step_seconds[0] if found.step_seconds[0] else 0.0
    part = 100 * sum(line.share for line in lines)
    explain = f"{len(lines)} lines explain" if len(lines) > 1 else "1 line explains"
    return [
        f"{title(one)}: {signed(one.sure)} a step ({share:+.1f} %); {explain} {part:.0f} % of what surely changed:",
        *(f"  {signed(line.change.seconds)}: {where(line)}, {words.shortened(line.text)}" for line in lines),
    ]


def title(one: FunctionDiff) -> str:
    """Returns the function's name, both of them where they differ."""
    names = [one_line(side.name) for side in (one.base, one.head) if side is not None]
    return " → ".join(dict.fromkeys(names))


def where(line: LineDiff) -> str:
    """Returns a line's number and what became of it: `line 12`, `new line 14`, `line 9, moved to 30`."""
    if line.base is None:
        return f"new line {line.head.number if line.head else '?'}"
    if line.head is None:
        return f"line {line.base.number}, now gone"
    moved = f", moved to {line.head.number}" if line.kind == "moved" else ""
    return f"line {line.base.number}{moved}" if moved else f"line {line.head.number}"
