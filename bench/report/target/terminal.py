"""Time to target as a table for a terminal."""

from __future__ import annotations

from rich.text import Text

from bench.analyze.target import TargetTable
from bench.report.layout import fold, to_string
from bench.report.target import words

GAP = "  "


def render(table: TargetTable, *, width: int, color: bool) -> str:
    """Returns a table, one line a variant, with the learning rates that were tried below it.

    Without `color` there is no escape sequence in the result. A table that is wider than `width` stays so.
    """
    lines = [words.heads(table), *(words.row(row, table) for row in table.rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    drawn = [_line(line, widths) for line in lines]
    shown = [text for line in words.heading(table) for text in fold(line, width, "dim")]
    shown += [
        Text(),
        Text(drawn[0], style="bold"),
        Text("─" * len(drawn[0]), style="dim"),
        *map(Text, drawn[1:]),
        Text(),
    ]
    tried = [f"learning rates of {line}" for line in words.rates(table)]
    shown += [text for line in (*words.notes(table), *tried) for text in fold(line, width, "dim")]
    return to_string(shown, color=color)


def _line(cells: list[str], widths: list[int]) -> str:
    first, *others = (
        cell.ljust(width) if place == 0 else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return GAP.join([first, *others])
