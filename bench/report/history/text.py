"""A history as a person at a terminal looks at it."""

from __future__ import annotations

from rich import box
from rich.table import Table
from rich.text import Text

from bench.analyze.series import Group, History
from bench.report.history import words
from bench.report.layout import to_string

STYLES = {"worse": "red", "better": "green", "": ""}


def render(history: History, *, width: int, color: bool) -> str:
    """Returns the changes, each with the command that confirms it, and a row for each series."""
    parts: list[Text | Table] = [Text(words.title(history), style="bold")]
    for command, changes in words.by_command(history).items():
        parts += [Text(words.sentence(*one), style=STYLES[words.kind(*one)]) for one in changes]
        if command:
            parts.append(Text(f"  confirm: {command}", style="dim"))
    for group in history.groups:
        parts += [Text(), *(Text(line, style="dim") for line in words.heading(group)), _table(group)]
    parts += [Text(), *(Text(line, style="dim") for line in words.notes(history))]
    return to_string(parts, color=color, width=width, fold=True)


def _table(group: Group) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("variant", overflow="fold", ratio=3, min_width=12)
    table.add_column("metric", overflow="fold", min_width=8)
    for head in ("commits", "now", "since first", "noise"):
        table.add_column(head, justify="right")
    table.add_column("", no_wrap=True, max_width=words.SPARKS)
    for series in filter(words.shown, group.series):
        now, since, noise = words.figures(series)
        picture = Text(words.spark(series), style="red" if words.kind(series, *series.changes) == "worse" else "")
        cells = (words.name(series), series.metric, str(len(series.points)), now, since, noise)
        table.add_row(*map(Text, cells), picture)
    return table
