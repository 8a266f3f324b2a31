"""Line profiles in the form that users of line_profiler know, and their difference in one like it."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analyze.line_diff import FunctionDiff, LineDiff, ProfileDiff
from bench.analyze.lines import FunctionCost, costs, steps
from bench.data.profile import Profile
from bench.report import units
from bench.report.plain import one_line
from bench.report.profile import diff_words, words

UNIT = 1e-6
HEADS = ("Line #", "Hits", "Time", "Per Hit", "% Time", "Line Contents")
WIDTHS = (6, 9, 12, 8, 8)
MARKS = {"same": " ", "moved": ">", "added": "+", "removed": "-"}


def render(profiles: Sequence[Profile]) -> str:
    """Returns the tables of some profiles, and below each function what its dearest lines do."""
    return "\n\n\n".join(_profile(profile) for profile in profiles)


def _profile(profile: Profile) -> str:
    lines = [words.name(profile), *words.heading(profile)]
    if profile.failure:
        lines.append(f"failed: {one_line(profile.failure)}")
    found = [cost for cost in costs(profile) if cost.ran]
    if found:
        lines += ["", f"Timer unit: {UNIT:g} s"]
    for cost in found:
        lines += ["", *table(cost)]
        why = [words.explained(line) for line in words.dearest(cost)]
        lines += ["", *why] if why else []
    idle = [one_line(cost.function.name) for cost in costs(profile) if not cost.ran]
    lines += [f"never ran: {', '.join(idle)}"] if idle else []
    return "\n".join([*lines, "", *words.notes(profile)])


def table(cost: FunctionCost) -> list[str]:
    """Returns a function's table as line_profiler prints it: every line of the source, figures where it ran."""
    function = cost.function
    lines = [
        f"Total time: {cost.seconds:g} s",
        f"File: {one_line(function.file)}",
        f"Function: {one_line(function.name)} at line {function.first}",
        "",
        _row(*HEADS),
        "=" * 62,
    ]
    for line in cost.lines:
        text = _code(line.line.text)
        if line.line.hits:
            figures = (f"{line.seconds / UNIT:.1f}", f"{line.per_hit / UNIT:.1f}", f"{100 * line.share:.1f}")
            lines.append(_row(str(line.line.number), str(line.line.hits), *figures, text))
        else:
            lines.append(_row(str(line.line.number), "", "", "", "", text))
    return lines


def _row(*cells: str) -> str:
    figures = " ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=False))
    return f"{figures}  {cells[-1]}".rstrip()


def _code(text: str) -> str:
    """Returns a line of code with its indentation, and without what could steer a terminal."""
    return "".join(char if char.isprintable() else " " for char in text.expandtabs(4)).rstrip()


def difference(found: ProfileDiff) -> str:
    """Returns the sentences that name lines, then a table for each function in which a line differs or was edited."""
    pairing = "paired step by step" if found.paired else "taken apart: compared by replicates, not by pairs of steps"
    counts = (steps(found.base), steps(found.head))
    lines = [
        f"{words.name(found.base)} → {words.name(found.head)}",
        *diff_words.summary(found),
        diff_words.step(found),
        f"{counts[0]} and {counts[1]} profiled steps, {pairing}",
    ]
    for one in found.functions:
        if shown(one):
            lines += ["", *difference_table(one, counts)]
    lines += [
        "",
        "Per Hit and Change are without the profiler's own cost; a ~ is within the noise, or too small to matter.",
    ]
    return "\n".join([*lines, *diff_words.environments(found), *diff_words.limits(found)])


def shown(one: FunctionDiff) -> bool:
    """Says whether a function has lines worth a table: some that differ, or that were edited."""
    return bool(one.explaining or one.edited)


def difference_table(one: FunctionDiff, counts: tuple[int, int]) -> list[str]:
    """Returns the lines of a function that ran on either side, with what changed."""
    files = dict.fromkeys(one_line(side.file) for side in (one.base, one.head) if side is not None)
    lines = [
        f"Function: {diff_words.title(one)} ({', '.join(files)})",
        f"  {'Line':>11} {'Per Hit, before':>15} {'after':>9} {'Change a step, 95 %':>34} {'Share':>6}  Line Contents",
        "=" * 98,
    ]
    for line in one.lines:
        numbers = "→".join(dict.fromkeys(str(side.number) for side in (line.base, line.head) if side is not None))
        changed = diff_words.change(line.change) if line.differs else "~"
        share = f"{100 * line.share:.0f} %" if line.differs else ""
        before, after = per_hit(line, counts)
        figures = f"{numbers:>11} {before:>15} {after:>9} {changed:>34} {share:>6}"
        lines.append(f"{MARKS[line.kind]} {figures}  {_code(line.text)}".rstrip())
    return lines


def per_hit(line: LineDiff, counts: tuple[int, int]) -> tuple[str, str]:
    """Returns a line's time a hit on both sides; nothing on a side that has no such line or never ran it."""
    found = []
    for side, seconds, count in zip(
        (line.base, line.head), (line.base_seconds, line.head_seconds), counts, strict=True
    ):
        found.append(units.seconds(seconds * count / side.hits) if side is not None and side.hits else "")
    return found[0], found[1]
