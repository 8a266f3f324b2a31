"""Time to target as a table for a pull request."""

from __future__ import annotations

from bench.analyze.target import TargetTable
from bench.report.markdown import cell, escape
from bench.report.target import words


def render(table: TargetTable) -> str:
    """Returns GitHub's markdown; nothing in it is active: names and messages of others show as they are."""
    heads = words.heads(table)
    lines = [f"{escape(line)}  " for line in words.heading(table)]
    lines += ["", _joined([*map(cell, heads)]), "|---|" + "---:|" * (len(heads) - 1)]
    # The characters of a variant id are checked where it is made: inside backticks none of them is active.
    lines += [_joined([f"`{row.variant}`", *map(cell, words.row(row, table)[1:])]) for row in table.rows]
    lines += ["", *(f"{escape(line)}  " for line in words.notes(table))]
    tried = words.rates(table)
    if tried:
        lines += ["", "Learning rates that were tried:", "", *(f"* {escape(line)}" for line in tried)]
    return "\n".join(lines)


def _joined(values: list[str]) -> str:
    return f"| {' | '.join(values)} |"
