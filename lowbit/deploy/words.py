"""A model's performance in words: pure functions from figures to sentences."""

from __future__ import annotations

from lowbit.deploy.layers import SMALL_INTEGERS
from lowbit.deploy.performance import Performance
from lowbit.pipeline.statistics import Interval

ABSENT = "—"
GLUE = "(glue)"
# The sum of layers may differ from the whole by so much before the report says why.
AGREEMENT = 0.1
# A thread that waits for more of its time than this shared its core.
WAITED = 0.05


def heading(found: Performance) -> str:
    """Returns one line on the machine that bounds are of."""
    peaks = ", ".join(f"{name} {number(rate / 1e9)} Gop/s" for name, rate in found.machine.peak.items())
    return f"this machine: {peaks}; memory {number(found.machine.bandwidth / 1e9)} GB/s"


def summary(found: Performance) -> list[tuple[str, str]]:
    """Returns the figures of the whole, each with its name."""
    runs, half = number(found.runs_per_second), spread(found.whole)
    each, moved = 1 / found.frames, found.loaded + found.stored
    lines = [
        ("latency", f"{number(1e3 * found.latency)} ms" + ("" if half is None else f" ±{100 * half:.1f} %")),
        ("FPS", f"{number(found.fps)} = {found.frames} frame{'s' if found.frames > 1 else ''} / latency"),
        ("operations", _run_and_frame(found.operations / 1e6, found.operations * each / 1e6, "M")),
        ("bytes", _run_and_frame(moved / 1e6, moved * each / 1e6, "MB")),
        ("", f"loaded {number(found.loaded / 1e6)} MB, stored {number(found.stored / 1e6)} MB a run"),
        ("bytes/s", f"{number(found.bytes_per_second / 1e6)} MB/s = bytes a run x {runs} runs/s"),
        ("weights", f"{number(found.weights / 1e3)} kB"),
    ]
    if found.peak is not None:
        lines.append(("memory peak", f"{number(found.peak / 1e6)} MB in a forward, beside the weights"))
    if found.added is not None and found.glue is not None:
        part, glue = signed(found.added / found.latency - 1), number(1e3 * found.glue.center)
        text = f"{number(1e3 * found.added)} ms added up, {glue} of it glue: {part} of the whole, never scaled to it"
        lines.append(("layers", text))
    if found.target is not None and found.predicted:
        fps = number(found.frames / found.predicted)
        lines.append(("on target", f"{number(1e3 * found.predicted)} ms, {fps} FPS predicted on {found.target.name}"))
    return lines


def notes(found: Performance) -> list[str]:
    """Returns what has to be known to read the table right."""
    made = []
    # First, since it doubts all times.
    if found.cpu < (1 - WAITED) * found.latency:
        made.append(
            f"the thread ran for {100 * found.cpu / found.latency:.0f} % of the time only: others used its core, or it "
            "waited for threads of its own; times are those of a machine in use"
        )
    if found.uncounted:
        calls = ", ".join(f"{name} ({count} x)" for name, count in found.uncounted.items())
        made.append(f"not counted: {calls}; nobody knows a formula for it, and its operations are missing above")
    if found.added is None:
        made.append(
            "compiled: only the whole can be timed; operations and bytes are those of the code before it was compiled"
        )
    elif found.marked is not None and abs(found.added / found.latency - 1) > AGREEMENT:
        own = "" if found.added_cpu is None else f" (by the time in which their thread ran: {signed(_own(found))})"
        made.append(
            f"layers add up to {signed(found.added / found.latency - 1)} of the whole{own}: with marks a forward takes "
            f"{_more(found.marked - found.latency)}, and its layers add up to {_more(found.added - found.marked)} than "
            "that, as medians leave out what interrupts another layer each time; a larger batch makes marks matter "
            "less, a quiet machine the rest"
        )
    simulated = [row for row in found.rows if row.cost.is_integer and row.cost.arithmetic not in SMALL_INTEGERS]
    if simulated and found.added is not None:
        kinds = ", ".join(sorted({str(row.cost.arithmetic) for row in simulated}))
        made.append(
            f"{len(simulated)} layers have weights of integers and compute in {kinds} on this machine; their bound is "
            f"that of {kinds}"
        )
    return made


def number(value: float) -> str:
    """Returns a number with three significant digits, and never an exponent: columns have a unit each."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    text = f"{value:#.3g}"
    return text if "e" not in text else f"{value:.6f}"


def spread(time: Interval) -> float | None:
    """Returns half the width of an interval as a part of its center; None without one, and for no time at all."""
    if time.low is None or time.high is None or not time.center:
        return None
    return (time.high - time.low) / 2 / time.center


def signed(part: float) -> str:
    """Returns a difference in percent with its sign."""
    return f"{100 * part:+.1f} %"


def _more(seconds: float) -> str:
    return f"{number(1e3 * abs(seconds))} ms {'more' if seconds >= 0 else 'less'}"


def _own(found: Performance) -> float:
    return (found.added_cpu or 0.0) / found.cpu - 1 if found.cpu else 0.0


def _run_and_frame(run: float, frame: float, unit: str) -> str:
    return f"{number(run)} {unit} a run, {number(frame)} {unit} a frame"
