"""The table for a pull request: every figure of a variant in one row, caveats as footnotes."""

from __future__ import annotations

import re

from bench.analyze.row import Row, Table
from bench.data.metric import PHASES, STEP
from bench.report import cells, units

COLUMNS = (
    "variant", *PHASES, STEP, "vs {baseline}", "operations F/B/O", "syncs F/B/O", "FLOP F/B/O",
    "saved", "peak", "state", "loss",
)  # fmt: skip


def render(table: Table) -> str:
    """Returns one table in GitHub's markdown, hardware and versions above it."""
    notes, marks = cells.footnotes(table.rows)
    heads = [column.format(baseline=escape(table.baseline)) for column in COLUMNS]
    lines = [*(f"{escape(line)}  " for line in cells.heading(table)), ""]
    lines += [_line(heads), _line(["---", *["---:"] * (len(heads) - 1)])]
    lines += [_line(_cells(row, table, marks.get(index, ""))) for index, row in enumerate(table.rows)]
    lines += ["", *(f"{escape(line)}  " for line in cells.legend(table))]
    if notes:
        lines += ["", *(f"{number}. {escape(note.message)}" for number, note in enumerate(notes, 1))]
    failures = [row for row in table.rows if row.failure]
    if failures:
        lines += ["", *(f"- {code(str(row.variant))} failed: {escape(row.failure or '')}" for row in failures)]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Returns text that GitHub shows as it is: no markup, no HTML, no mention, one line."""
    flat = " ".join(text.split())
    escaped = re.sub(r"([\\`*_{}\[\]<>#|~!&])", r"\\\1", flat)
    # A zero-width joiner keeps `@name` from notifying somebody.
    return escaped.replace("@", "@\u200d")


def code(text: str) -> str:
    """Returns text as code; what would end it, or a table cell, is replaced."""
    return "`" + re.sub(r"[`|\s]+", " ", text) + "`"


def _line(values: list[str]) -> str:
    return "| " + " | ".join(values) + " |"


def _cells(row: Row, table: Table, marks: str) -> list[str]:
    name = code(str(row.variant)) + (f" <sup>{marks.strip('[]')}</sup>" if marks else "")
    if row.failure and not row.summaries:
        return [name, "failed", *[""] * (len(COLUMNS) - 2)]
    values = row.counters.values
    times = [f"{cells.time(row, metric)} {cells.spread(row, metric)}".strip() for metric in (*PHASES, STEP)]
    times[-1] = f"**{cells.time(row, STEP)}** {cells.spread(row, STEP)}".strip()
    interval = cells.ratio_interval(row)
    return [
        name,
        *times,
        cells.ratio(row, table.baseline) + (f" ({interval})" if interval else ""),
        _by_phase(row, "operations"),
        _by_phase(row, "syncs"),
        cells.flops(row),
        units.size(values.get("saved_bytes")),
        units.size(values.get("peak_bytes")),
        cells.state(row) + (f" ({escape(', '.join(parts))})" if len(parts := cells.state_parts(row)) > 1 else ""),
        cells.loss(row),
    ]


def _by_phase(row: Row, counter: str) -> str:
    return " / ".join(units.count(row.counters.values.get(f"{phase}.{counter}")) for phase in row.phases)
