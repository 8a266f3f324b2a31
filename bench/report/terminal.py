"""The table that a person looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from bench.analyze.row import Row, Table
from bench.data.metric import STEP
from bench.report import cells
from bench.report.footnotes import footnotes
from bench.report.layout import Cell, Grid, fold, to_string


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A row in words, ready to be laid out."""

    row: Row
    label: Cell
    figures: tuple[Cell, ...]
    below: str


def render(table: Table, *, width: int, color: bool) -> str:
    """Returns a table of variants, one below the other by model; each figure stands above its interval.

    A failed variant shows its reason in place of figures. Without `color` there is no escape sequence in the
    result. Where even the narrowest arrangement is wider than `width`, so is the table: no figure is left out.
    """
    notes = footnotes(table.rows)
    label, header = Cell(head="variant", style="bold"), _header(table)
    lines = [_line(row, table, marks) for row, marks in zip(table.rows, notes.marks, strict=True)]
    written = [line.figures for line in lines if line.row.failure is None]
    grid = Grid.fit([label, *(line.label for line in lines)], [header, *written], width)
    shown = [text for line in cells.heading(table) for text in fold(line, grid.space, "dim")]
    shown += [Text(), *grid.row(label if grid.beside else Cell(head=""), header)]
    shown.append(Text("─" * grid.total, style="dim"))
    for model in dict.fromkeys(row.variant.model for row in table.rows):
        shown.append(Text(model, style="bold"))
        shown += [text for line in lines if line.row.variant.model == model for text in _drawn(line, grid)]
        shown.append(Text())
    shown += [text for line in cells.legend(table) for text in fold(line, grid.space, "dim")]
    for number, note in enumerate(notes.notes, 1):
        shown += fold(note, grid.space, "yellow", mark=f"[{number}] ")
    return to_string(shown, color=color)


def _header(table: Table) -> tuple[Cell, ...]:
    names = [*((phase, "±", _counts_of(phase)) for phase in cells.shown_phases(table)), (STEP, "±")]
    names += [(name, "95%") for name in cells.ratio_names(table)]
    others = (("state",), ("saved", "peak"), ("loss",))
    return tuple(_cell(*name, style="bold") for name in (*names, *others))


def _counts_of(phase: str) -> str:
    return "·".join(cells.below(phase)).replace("operations", "ops")


def _line(row: Row, table: Table, marks: Sequence[int]) -> _Line:
    names, at, axes = str(row.variant).partition("/")[2].partition("@")
    mark = f"[{','.join(map(str, marks))}]" if marks else ""
    parts = ", ".join(cells.state_parts(row))
    below = [f"state: {parts}"] * bool(parts) + cells.quantized(row) + cells.accuracies(row, table) + cells.foreign(row)
    return _Line(
        row=row,
        label=_cell(f"  {names}", f"  {at}{axes}" if axes else "", f"  {mark}" if mark else ""),
        figures=_figures(row, table),
        below="; ".join(below),
    )


def _figures(row: Row, table: Table) -> tuple[Cell, ...]:
    phases = []
    for phase in cells.shown_phases(table):
        counts = "·".join(filter(None, (cells.counted(row, phase, counter) for counter in cells.below(phase))))
        phases.append(_cell(cells.time(row, phase), cells.spread(row, phase), counts))
    return (
        *phases,
        _cell(cells.time(row, STEP), cells.spread(row, STEP), style="bold"),
        *(_cell(*parts) for parts in cells.ratios(row, table)),
        _cell(cells.exact(row, "state_bytes")),
        _cell(cells.exact(row, "saved_bytes"), cells.exact(row, "peak_bytes")),
        _cell(cells.exact(row, "loss")),
    )


def _cell(head: str, *details: str, style: str = "") -> Cell:
    return Cell(head=head, details=tuple(filter(None, details)), style=style)


def _drawn(line: _Line, grid: Grid) -> list[Text]:
    if line.row.failure is not None:
        return grid.message(line.label, cells.failure(line.row), "red")
    return grid.row(line.label, line.figures, line.below)
