"""What every report of a profile says, apart from how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analyze.change import Change
from bench.analyze.line_diff import FunctionDiff, LineDiff, ProfileDiff
from bench.analyze.lines import FunctionCost, LineCost, Overhead, overhead, steps
from bench.data.profile import Operation, Profile
from bench.report import units
from bench.report.plain import one_line

# Lines that are explained in words below a table.
EXPLAINED_LINES = 5
# Below this a line is not worth a word.
SHARE = 0.01
TEXT = 60


def name(profile: Profile) -> str:
    """Returns what a profile is called: `resnet20/eva/none`, or with its version, `resnet20/eva/none@@main`."""
    return f"{profile.variant}@@{one_line(profile.version)}" if profile.version else str(profile.variant)


def heading(profile: Profile) -> list[str]:
    """Returns what stands above the tables of a profile: where it was taken, and how."""
    environment = profile.environment
    commit = f"{(profile.commit or 'unknown')[:8]}{' with changes' if profile.dirty else ''}"
    threads = f"{environment.threads} thread{'s' if environment.threads != 1 else ''}"
    counted = f"{steps(profile)} steps with the profiler and as many without, in {len(profile.replicates)} replicates"
    warm = min((one.warmup_steps for one in profile.replicates), default=0)
    versions = f"torch {environment.torch}, Python {environment.python}"
    lines = [
        f"{environment.cpu}, {threads}, {versions}; commit {commit}; {profile.created}",
        f"{counted}, {warm} warm-up steps or more before each",
    ]
    return [one_line(line) for line in lines]


def own_cost(found: Overhead, events: int) -> str:
    """Returns what the profiler itself costs."""
    extra = 100 * (found.profiled / found.plain - 1) if found.plain else 0.0
    return (
        f"profiling: a step takes {units.seconds(found.profiled)} with it and {units.seconds(found.plain)} without "
        f"({extra:+.1f} %), {units.seconds(found.event_seconds)} for each of {events:,} events of Python's tracing. "
        "Time and Per Hit are as recorded; times in words are without that cost."
    )


def notes(profile: Profile) -> list[str]:
    """Returns what a reader of a profile must know, once each."""
    found = [own_cost(overhead(profile), profile.events)] if profile.replicates else []
    if profile.variant.device != "cpu":
        found.append(
            f"{profile.variant.device} works on while Python goes on: a line's time is that of the host. Set "
            "CUDA_LAUNCH_BLOCKING=1 to have lines wait for what they launch."
        )
    return found + [one_line(caveat.message) for caveat in profile.caveats]


def dearest(cost: FunctionCost) -> list[LineCost]:
    """Returns the lines of a function that take most of its time."""
    found = sorted(cost.lines, key=lambda line: -line.step_seconds)[:EXPLAINED_LINES]
    return [line for line in found if line.share >= SHARE]


def explained(cost: LineCost) -> str:
    """Returns why a line costs what it does: `line 48, 742 µs: 11 operations (310 µs), 38 % in Eva's hook`."""
    parts = [*([operations(cost.line.operations)] if cost.line.operations else []), *hooks(cost.line.hooks)]
    return f"line {cost.line.number}, {units.seconds(cost.step_seconds)} a step" + (
        f": {', '.join(parts)}" if parts else ""
    )


def operations(found: Sequence[Operation]) -> str:
    """Returns how many operations ran under a line, how long they took, and the dearest of them."""
    count = sum(one.count for one in found)
    first = max(found, key=lambda one: one.seconds)
    dear = f", {one_line(first.name)} {units.seconds(first.seconds)}" if len(found) > 1 else f", {first.name}"
    total = units.seconds(sum(one.seconds for one in found))
    return f"{count:g} operation{'s' if count != 1 else ''} ({total}{dear})"


def hooks(found: dict[str, float]) -> list[str]:
    """Returns the part of a line's time that its hooks take."""
    return [
        f"{100 * share:.0f} % in hook {one_line(hook)}"
        for hook, share in sorted(found.items(), key=lambda one: -one[1])
    ]


def change(found: Change) -> str:
    """Returns a change with its interval: `+1.20 ms (+1.10 ms to +1.30 ms)`."""
    interval = "" if found.low is None or found.high is None else f" ({signed(found.low)} to {signed(found.high)})"
    return f"{signed(found.seconds)}{interval}"


def signed(seconds: float) -> str:
    """Returns a difference of times with its sign."""
    return f"{'+' if seconds >= 0 else '−'}{units.seconds(abs(seconds))}"  # noqa: RUF001 - the sign of a number


def step(found: ProfileDiff) -> str:
    """Returns what became of the whole step, without the profiler."""
    before, after = found.step_seconds
    return (
        f"step without the profiler: {units.seconds(before)} before, {units.seconds(after)} after, {change(found.step)}"
    )


def summary(found: ProfileDiff) -> list[str]:
    """Returns what changed: a sentence for each function, largest change first, and below it the lines by name."""
    sentences = [text for one in found.functions if one.explaining for text in _sentences(one, found)]
    if sentences:
        return sentences
    reach = sorted(
        max(abs(line.change.low), abs(line.change.high))
        for one in found.functions
        for line in one.lines
        if line.change.low is not None and line.change.high is not None
    )
    most = reach[int(0.9 * (len(reach) - 1))] if reach else 0.0
    return [f"no line differs; nine in ten lines changed by less than {units.seconds(most)} a step"]


def _sentences(one: FunctionDiff, found: ProfileDiff) -> list[str]:
    lines = one.explaining
    net = sum(line.change.seconds for line in one.lines if line.differs)
    share = 100 * net / found.step_seconds[0] if found.step_seconds[0] else 0.0
    part = 100 * sum(line.share for line in lines)
    explain = f"{len(lines)} lines explain" if len(lines) > 1 else "1 line explains"
    return [
        f"{title(one)}: {signed(net)} a step ({share:+.1f} % of it); {explain} {part:.0f} % of what changed:",
        *(f"  {signed(line.change.seconds)}: {where(line)}, {shortened(line.text)}" for line in lines),
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


def shortened(text: str) -> str:
    """Returns a line of code for a sentence."""
    flat = one_line(text)
    return flat if len(flat) <= TEXT else flat[: TEXT - 1] + "…"
