"""Profiles as a page: the source of each function with a heat bar a line, variants in columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.analyze.align import merged
from bench.analyze.lines import FunctionCost, LineCost, costs
from bench.data.profile import Profile
from bench.report import units
from bench.report.plain import one_line
from bench.report.profile import page, words


def render(profiles: Sequence[Profile]) -> str:
    """Returns the page of some profiles; functions of one name share a table, their lines aligned by content."""
    whole = [profile for profile in profiles if profile.replicates]
    # Functions of one name are told apart by their order: lambdas, or a name in two classes.
    by_name: dict[tuple[str, int], list[FunctionCost | None]] = {}
    for number, profile in enumerate(whole):
        met: Counter[str] = Counter()
        for cost in costs(profile):
            if cost.ran:
                key = (cost.function.name, met[cost.function.name])
                met[cost.function.name] += 1
                by_name.setdefault(key, [None] * len(whole))[number] = cost
    failures = [f"{words.name(one)} failed: {one_line(one.failure)}" for one in profiles if one.failure]
    return page.render(
        f"Line profile: {', '.join(words.name(profile) for profile in whole)}",
        heading=words.heading(whole[0]),
        sentences=failures,
        sections=[_section(name, found, whole) for (name, _), found in by_name.items()],
        notes=[f"{words.name(profile)}: {note}" for profile in whole for note in words.notes(profile)],
    )


def _section(name: str, found: Sequence[FunctionCost | None], profiles: Sequence[Profile]) -> page.Section:
    columns = [(words.name(profile), cost) for profile, cost in zip(profiles, found, strict=True) if cost is not None]
    rows = merged([[line.line.text for line in cost.lines] for _, cost in columns])
    dearest = max(line.step_seconds for _, cost in columns for line in cost.lines)
    files = dict.fromkeys(one_line(cost.function.file) for _, cost in columns)
    return page.Section(
        title=one_line(name),
        subtitle=f"{', '.join(files)}; times are a step's, without the profiler's own cost",
        heads=("line", *(label for label, _ in columns), "source", "why"),
        rows=tuple(
            _row(
                place,
                [
                    cost.lines[index] if index is not None else None
                    for (_, cost), index in zip(columns, row, strict=True)
                ],
                dearest,
            )
            for place, row in enumerate(rows)
        ),
    )


def _row(place: int, lines: Sequence[LineCost | None], dearest: float) -> page.Row:
    have = [line for line in lines if line is not None]
    # The one that says most: with operations or hooks under it, and the dearest of those.
    most = max(have, key=lambda line: (bool(line.line.operations or line.line.hooks), line.step_seconds))
    numbers = dict.fromkeys(str(line.line.number) for line in have)
    return page.Row(
        mark="",
        number=" / ".join(numbers),
        place=place,
        cells=tuple(_cell(line, dearest) for line in lines),
        code=most.line.text,
        why=words.why(most) if most.share >= words.SHARE else "",
        style="" if any(line.line.hits for line in have) else "idle",
    )


def _cell(line: LineCost | None, dearest: float) -> page.Cell:
    if line is None or not line.line.hits:
        return page.Cell(text="", value=0.0, percent=0.0)
    percent = 100 * line.step_seconds / dearest if dearest else 0.0
    return page.Cell(text=units.seconds(line.step_seconds), value=line.step_seconds, percent=round(percent, 1))
