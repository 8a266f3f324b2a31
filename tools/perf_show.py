"""How `stepbench perf` shows its figures: tables on the terminal, and what its files hold."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console, JustifyMethod
from rich.measure import Measurement
from rich.table import Table

from lowbit.deploy import beside, cells
from lowbit.deploy import document as documents
from lowbit.deploy import markdown as markdowns
from lowbit.deploy import page as pages
from lowbit.deploy.cells import Cell, Column
from lowbit.deploy.performance import Performance
from lowbit.deploy.picture import graph_svg
from lowbit.deploy.trace import Trace
from lowbit.deploy.words import heading, notes, summary

from . import output

# Wider than any table, to measure one.
WIDEST = 1000
Found = Sequence[tuple[Performance, Trace]]


def show(found: Found, about: str) -> None:
    """Prints the layers of one model, or those of two beside each other, and the figures of the whole."""
    console = Console(file=sys.stdout, highlight=False, no_color=not output.color(), width=output.width())
    performances = [each for each, _ in found]
    console.print(about, style="dim", markup=False)
    console.print(heading(performances[0]), style="dim", markup=False)
    if len(performances) == 2:
        left, right = performances
        console.print(_table(beside.COLUMNS, beside.rows(beside.pairs(left, right)), console)[1])
        console.print(beside.legend(left, right), style="dim", markup=False)
    else:
        columns = cells.columns(performances[0])
        kept, table = _table(columns, cells.rows(performances[0]), console)
        console.print(table)
        console.print(cells.legend([columns[index] for index in kept]), style="dim", markup=False)
    for each in performances:
        console.print(f"\n{each.name}", style="bold", markup=False)
        for name, text in summary(each):
            console.print(f"  {name:12} {text}", markup=False)
        for number, note in enumerate(notes(each), 1):
            console.print(f"  [{number}] {note}", style="yellow", markup=False)


def document(found: Found, versions: dict[str, str]) -> dict[str, Any]:
    """Returns the document for programs."""
    return documents.document([each for each, _ in found], versions)


def markdown(found: Found, about: str = "") -> str:
    """Returns the tables for a pull request."""
    return markdowns.render([each for each, _ in found], about)


def page(found: Found, about: str = "") -> str:
    """Returns the page, with the graph of each model coloured by the time of its layers."""
    graphs = []
    for each, traced in found:
        times = {row.cost.place: row.time.center for row in each.rows if row.time is not None}
        graphs.append(graph_svg(traced, times, name=each.name))
    return pages.render([each for each, _ in found], graphs, about)


def _table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], console: Console) -> tuple[list[int], Table]:
    """Returns which columns there is room for, and their table."""
    kept = list(range(len(columns)))
    while True:
        table = Table(box=None, pad_edge=False, padding=(0, 1))
        for index in kept:
            column = columns[index]
            justify: JustifyMethod = "right" if column.is_number else "left"
            # Units stand in a line of their own.
            table.add_column(column.head.replace(" ", "\n"), justify=justify, no_wrap=True)
        for row in rows:
            table.add_row(*(row[index].text for index in kept))
        spared = max(kept, key=lambda index: columns[index].spare)
        fits = Measurement.get(console, console.options.update(max_width=WIDEST), table).maximum <= console.width
        if fits or not columns[spared].spare:
            return kept, table
        kept.remove(spared)
