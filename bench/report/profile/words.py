"""What every report of a profile says, apart from how it is drawn."""

from __future__ import annotations

from bench.analyze.lines import FunctionCost, LineCost, overhead, steps
from bench.data.metric import PHASES
from bench.data.profile import Profile
from bench.report import units
from bench.report.plain import one_line, plural

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
    counted = (
        f"{plural(steps(profile), 'step')} with the profiler and as many without, in "
        f"{plural(len(profile.replicates), 'replicate')}"
    )
    warm = min((one.warmup_steps for one in profile.replicates), default=0)
    return [where_taken(profile), f"{counted}, {plural(warm, 'warm-up step')} or more before each"]


def where_taken(profile: Profile) -> str:
    """Returns machine, versions, commit and time of a profile."""
    environment = profile.environment
    commit = f"{(profile.commit or 'unknown')[:8]}{' with changes' if profile.dirty else ''}"
    threads = plural(environment.threads, "thread")
    versions = f"torch {environment.torch}, Python {environment.python}"
    return one_line(f"{environment.cpu}, {threads}, {versions}; commit {commit}; {profile.created}")


def own_cost(profile: Profile) -> str:
    """Returns what the profiler itself costs."""
    found = overhead(profile)
    extra = 100 * (found.profiled / found.plain - 1) if found.plain else 0.0
    events = sum(profile.events.values())
    prices = ", ".join(
        f"{units.seconds(price)} in {phase}"
        for phase, price in found.event_seconds.items()
        if price and phase in PHASES
    )
    return (
        f"profiling: a step takes {units.seconds(found.profiled)} with it and {units.seconds(found.plain)} without "
        f"({extra:+.1f} %), for {events:,.0f} events of Python's tracing" + (f" at {prices}" if prices else "")
    )


def notes(profile: Profile) -> list[str]:
    """Returns what a reader of a profile must know, once each."""
    found = []
    if profile.replicates:
        found = [f"{own_cost(profile)}. Time and Per Hit are as recorded; times in words are without that cost."]
    return found + warnings(profile)


def warnings(profile: Profile) -> list[str]:
    """Returns what limits what a profile says."""
    found = []
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
    """Returns why a line costs what it does: `line 48, 742 µs a step: 11 operations (310 µs), 38 % in hook f`."""
    reason = why(cost)
    return f"line {cost.line.number}, {units.seconds(cost.step_seconds)} a step{f': {reason}' if reason else ''}"


def why(cost: LineCost) -> str:
    """Returns what happens under a line: its operations, and the part of it that is hooks."""
    parts = [_operations(cost)] if cost.line.operations else []
    seconds = cost.step_seconds
    hooks = sorted(cost.line.hooks.items(), key=lambda one: -one[1])
    parts += [f"{100 * min(1.0, taken / seconds):.0f} % in hook {one_line(hook)}" for hook, taken in hooks if seconds]
    return ", ".join(parts)


def _operations(cost: LineCost) -> str:
    found = cost.line.operations
    total = sum(one.seconds for one in found)
    first = max(found, key=lambda one: one.seconds)
    # One by one and from Python, operations take longer than in the line; more than all of it they never take.
    taken = units.seconds(total) if total < cost.step_seconds else "nearly all of it"
    mostly = f", {100 * first.seconds / total:.0f} % of that {one_line(first.name)}" if total and len(found) > 1 else ""
    only = f", {one_line(first.name)}" if len(found) == 1 else ""
    return f"{plural_float(sum(one.count for one in found), 'operation')} ({taken}{mostly}{only})"


def plural_float(count: float, noun: str) -> str:
    """Returns a mean count with its noun: `1 operation`, `2.5 operations`."""
    return f"{count:.3g} {noun}{'' if count == 1 else 's'}"


def shortened(text: str) -> str:
    """Returns a line of code for a sentence."""
    flat = one_line(text)
    return flat if len(flat) <= TEXT else flat[: TEXT - 1] + "…"
