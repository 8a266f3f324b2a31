"""The performance of models for a pull request."""

from __future__ import annotations

from collections.abc import Sequence

from lowbit.deploy import beside, cells
from lowbit.deploy.cells import Cell, Column
from lowbit.deploy.performance import Performance
from lowbit.deploy.words import heading, notes, summary


def render(found: Sequence[Performance], about: str = "") -> str:
    """Returns the tables of one model, or of two with that of both before; `about` says where they were taken."""
    lines = [*filter(None, [about]), heading(found[0])]
    if len(found) == 2:
        lines += ["", *_table(beside.COLUMNS, beside.rows(beside.pairs(*found))), "", beside.legend(*found)]
    for each in found:
        lines += ["", f"### {each.name}", "", "| | |", "|---|---|"]
        lines += [_line(pair) for pair in summary(each)]
        lines += ["", *_table(cells.columns(each), cells.rows(each)), "", cells.legend(cells.columns(each))]
        lines += [text for number, note in enumerate(notes(each), 1) for text in ("", f"[{number}] {note}")]
    return "\n".join(lines) + "\n"


def _table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> list[str]:
    aligned = ["---:" if column.is_number else "---" for column in columns]
    return [
        _line([column.head for column in columns]),
        f"|{'|'.join(aligned)}|",
        *(_line([cell.text for cell in row]) for row in rows),
    ]


def _line(parts: Sequence[str]) -> str:
    escaped = [part.replace("|", r"\|") for part in parts]
    return f"| {' | '.join(escaped)} |"
