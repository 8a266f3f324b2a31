"""The accuracy trail in words: pure functions from trails to cells, and from cells to text."""

from __future__ import annotations

from collections.abc import Sequence

from lowbit.pipeline.statistics import Interval, mcnemar, wilson
from lowbit.pipeline.trail import FLOAT, QAT, Entry, Row, Trail, rows

HEADINGS = ("stage", "Acc@1", "95 %", "Acc@5", "loss", "vs float", "")
ABSENT = "—"
# All columns but the first are numbers.
RIGHT = frozenset(range(1, 6))


def heading(trails: Sequence[Trail]) -> str:
    """Returns one line on what was run: the model, the flow, the data, and how."""
    plan, data = trails[0].plan, trails[0].data
    seeds = [trail.plan.seed for trail in trails]
    several = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
    covered = trails[0].quantized
    layers = "" if covered is None else f": {covered} of {trails[0].eligible} layers quantized"
    parts = [f"{plan.model}, {plan.flow}{layers}", data, several]
    rates = [f"lr {plan.lr:g}"] if plan.epochs else []
    rates += [f"lr {plan.qat_lr:g} in QAT"] if plan.qat_epochs else []
    parts.append(", ".join([*([plan.optimizer] if rates else []), *rates, f"batch {plan.batch}"]))
    parts.append(f"{_used(trails[0])} calibration examples")
    if plan.input_scale is not None:
        parts.append(f"input scale {plan.input_scale:g}")
    parts += [f"{glob}: {setting}" for glob, setting in plan.modules]
    if plan.wide_output is not None:
        parts.append(f"{plan.wide_output}: output of 32 bits")
    return "; ".join(parts)


def cells(trails: Sequence[Trail]) -> list[tuple[str, ...]]:
    """Returns a row of cells for each stage, under HEADINGS.

    One run has the interval of its count of right answers, and McNemar's test against its float model; several seeds
    have that of their mean, and of the mean difference by seed.
    """
    if len(trails) == 1:
        return [_of_one(entry) for entry in trails[0].shown]
    return [_of_several(row) for row in rows(trails)]


def legend(trails: Sequence[Trail]) -> str:
    """Returns what the intervals are."""
    if len(trails) == 1:
        return (
            "95 %: Wilson's interval for this one run. vs float: points of Acc@1 against the float model, with the "
            "examples gained and lost and the exact McNemar p."
        )
    return (
        f"Means over {len(trails)} seeds. 95 %: Student's t over seeds. vs float: mean difference in points of Acc@1, "
        "paired by seed, with its t interval."
    )


def notes(trails: Sequence[Trail]) -> list[str]:
    """Returns what was noticed, each line once; of lines that differ in figures only, the first."""
    found: dict[str, list[str]] = {}
    for trail in trails:
        for finding in trail.findings:
            found.setdefault(finding.code, []).append(finding.message)
    count = len(trails)
    return [
        messages[0] + (f" (so, or with other figures, for {len(messages)} of {count} seeds)" if count > 1 else "")
        for messages in found.values()
    ]


def markdown(trails: Sequence[Trail]) -> str:
    """Returns the trail for a pull request."""
    aligned = ["---:" if number in RIGHT else "---" for number in range(len(HEADINGS))]
    lines = [heading(trails), "", _line(HEADINGS), f"|{'|'.join(aligned)}|"]
    lines += [_line(row) for row in cells(trails)]
    lines += ["", legend(trails)]
    lines += [text for number, note in enumerate(notes(trails), 1) for text in ("", f"[{number}] {note}")]
    return "\n".join(lines) + "\n"


def percent(interval: Interval) -> str:
    """Returns the ends of an interval of shares in percent."""
    if interval.low is None or interval.high is None:
        return ABSENT
    return f"{100 * interval.low:.1f}–{100 * min(interval.high, 1):.1f}"  # noqa: RUF001 - a range has an en dash


def points(interval: Interval) -> str:
    """Returns the ends of an interval of differences in points, with their signs."""
    if interval.low is None or interval.high is None:
        return ""
    return f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}"


def _of_one(entry: Entry) -> tuple[str, ...]:
    difference, test = ABSENT, ""
    if entry.stage != FLOAT:
        difference = f"{100 * (entry.gained - entry.lost) / entry.examples:+.2f}"
        test = f"+{entry.gained} -{entry.lost}, p = {mcnemar(entry.gained, entry.lost):.2g}"
    return (
        _stage(entry),
        f"{100 * entry.accuracy:.2f}",
        percent(wilson(entry.correct, entry.examples)),
        f"{100 * entry.correct5 / entry.examples:.2f}",
        f"{entry.loss:.4f}",
        difference,
        test,
    )


def _of_several(row: Row) -> tuple[str, ...]:
    quantized = row.stage != FLOAT
    return (
        _stage(row),
        f"{100 * row.accuracy.center:.2f}",
        percent(row.accuracy),
        f"{100 * row.accuracy5:.2f}",
        f"{row.loss:.4f}",
        f"{100 * row.difference.center:+.2f}" if quantized else ABSENT,
        points(row.difference) if quantized else "",
    )


def _used(trail: Trail) -> str:
    asked = trail.plan.calibration
    if trail.calibrated is None:
        return f"up to {asked}"
    return str(asked) if trail.calibrated == asked else f"{trail.calibrated} of {asked} asked"


def _stage(row: Entry | Row) -> str:
    return f"{row.stage} {row.epoch}" if row.stage in {FLOAT, QAT} and row.epoch else row.stage


def _line(parts: Sequence[str]) -> str:
    escaped = [part.replace("|", r"\|") for part in parts]
    return f"| {' | '.join(escaped)} |"
