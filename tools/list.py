"""`stepbench list`: every name that can be measured."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.table import Table

from bench.data.metric import METRICS
from bench.data.variant import DEFAULTS, DTYPES
from bench.plugin import KINDS
from bench.run.load import load

from .catalog import sets


@click.command("list")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", help="A Python file with register(registry); repeatable."
)
@click.option("--catalog", metavar="PATH", help="Another file with SETS.  [default: suites/catalog.py]")
@click.option("--metrics", is_flag=True, help="List the metrics instead, with unit and meaning.")
def command(plugins: tuple[str, ...], catalog: str | None, *, metrics: bool) -> int:
    """List models, optimizers, quantizations, data sources, axes and sets.

    \b
    Examples:
      stepbench list
      stepbench list --plugin my_specimens.py
      stepbench list --metrics
    """
    console = Console(file=sys.stdout, highlight=False)
    if metrics:
        _print(
            console,
            ("metric", "unit", "noise", "meaning"),
            [(m.name, m.unit, m.noise, m.description) for m in METRICS.values()],
        )
        return 0
    registry = load(plugins)
    rows: list[tuple[str, ...]] = [(kind, part.name, part.summary) for kind in KINDS for part in registry.parts(kind)]
    rows += [("axis", axis, f"default {str(value).lower()}") for axis, value in DEFAULTS.items()]
    rows += [("dtype", name, "") for name in DTYPES]
    rows += [("set", name, f"{len(ids)} variants: {ids[0]} ... {ids[-1]}") for name, ids in sets(catalog).items()]
    _print(console, ("kind", "name", "what it is"), rows)
    return 0


def _print(console: Console, headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    before = None
    for row in rows:
        if before is not None and row[0] != before and headings[0] == "kind":
            table.add_section()
        before = row[0]
        table.add_row(*row)
    console.print(table)
