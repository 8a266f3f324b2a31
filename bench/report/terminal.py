"""The table that a person looks at."""

from __future__ import annotations

import io

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from bench.analyze.row import Row, Table
from bench.data.metric import PHASES, STEP
from bench.report import cells, units


def render(table: Table, *, width: int, color: bool) -> str:
    """Returns a table of variants, one below the other by model; each cell holds its median over its interval.

    Without `color` there is no escape sequence in the result. Below 100 columns the exact figures that no cell
    has room for are left to the markdown and JSON forms.
    """
    stream = io.StringIO()
    console = Console(
        file=stream, width=width, force_terminal=color, no_color=not color, highlight=False, emoji=False,
        legacy_windows=False, color_system="standard" if color else None,
    )  # fmt: skip
    for line in cells.heading(table):
        console.print(Text(line, style="dim"))
    notes, marks = cells.footnotes(table.rows)
    wide = width >= 100
    drawn = _frame(table, wide=wide)
    model = None
    for index, row in sorted(enumerate(table.rows), key=lambda item: _place(table, item[1])):
        if row.variant.model != model:
            if model is not None:
                drawn.add_section()
            model = row.variant.model
            drawn.add_row(Text(model, style="bold"))
        drawn.add_row(*_cells(row, table, marks.get(index, ""), wide=wide))
    console.print(drawn)
    for line in cells.legend(table):
        console.print(Text(line, style="dim"))
    for number, note in enumerate(notes, 1):
        console.print(Text(f"[{number}] {note.message}", style="yellow"))
    for row in table.rows:
        if row.failure:
            console.print(Text(f"{row.variant} failed: {row.failure}", style="red"))
    return "\n".join(line.rstrip() for line in stream.getvalue().rstrip().splitlines())


def _place(table: Table, row: Row) -> int:
    """Returns where a row's model first occurs, so that models stay in order and rows in theirs."""
    return next(index for index, other in enumerate(table.rows) if other.variant.model == row.variant.model)


def _frame(table: Table, *, wide: bool) -> RichTable:
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True, expand=False)
    drawn.add_column("variant", overflow="fold", min_width=12)
    for name in (*PHASES, STEP):
        drawn.add_column(name, justify="right", no_wrap=wide)
    drawn.add_column(f"vs {table.baseline}", justify="right", no_wrap=wide)
    drawn.add_column("state", justify="right", no_wrap=wide)
    if wide:
        drawn.add_column("saved, peak", justify="right", no_wrap=True)
    drawn.add_column("loss", justify="right")
    return drawn


def _cells(row: Row, table: Table, marks: str, *, wide: bool) -> list[Text]:
    if row.failure and not row.summaries:
        return [_cell("  " + cells.label(row), "", marks), _cell("failed", "see below", style="red")]
    values = row.counters.values
    shown = [_cell("  " + cells.label(row), "", marks)]
    shown += [_cell(cells.time(row, phase), cells.spread(row, phase), cells.operations(row, phase)) for phase in PHASES]
    shown.append(_cell(cells.time(row, STEP), cells.spread(row, STEP), style="bold"))
    shown.append(_cell(cells.ratio(row, table.baseline), cells.ratio_interval(row)))
    shown.append(_cell(cells.state(row), *cells.state_parts(row)[: 3 if wide else 0]))
    if wide:
        shown.append(_cell(units.size(values.get("saved_bytes")), units.size(values.get("peak_bytes"))))
    shown.append(_cell(cells.loss(row)))
    return shown


def _cell(first: str, *others: str, style: str = "") -> Text:
    text = Text(first, style=style)
    for other in others:
        if other:
            text.append(("" if not text.plain.strip() else " " if other.startswith("[") else "\n") + other, style="dim")
    return text
