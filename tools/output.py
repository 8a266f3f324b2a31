"""What measuring and reporting have in common: the formats they print and the files they write."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench.analyze.row import Table
from bench.analyze.table import tables
from bench.data.record import Record
from bench.errors import ResultsUnwritable
from bench.report import cells, document, markdown, seed, terminal
from bench.report.plain import one_line
from bench.store import accuracies
from bench.store.whole import write_whole

FAILED, NOTHING = 3, 4
# Options that name a file to be written.
FILES = ("json", "markdown", "html", "lprof", "output")


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of every command that shows a table."""
    for option in (
        click.option("--markdown", metavar="PATH", help="Write the table for a pull request."),
        click.option("--json", metavar="PATH", help="Write the table as a document with a schema version, SI units."),
        click.option(
            "--format",
            type=click.Choice(["table", "seed"]),
            default="table",
            show_default=True,
            help="What is printed: a table for people, or one line a variant in milliseconds.",
        ),
        click.option(
            "--baseline",
            default="sgd",
            show_default=True,
            metavar="OPTIMIZER",
            help="The row that ratios refer to.",
        ),
        click.option(
            "--accuracy",
            "accuracies",
            multiple=True,
            metavar="TRAIL",
            help="Show accuracies beside quantized rows: what `stepbench quantize --json` wrote; repeatable.",
        ),
    ):
        function = option(function)
    return function


def check(given: dict[str, Any]) -> None:
    """Raises ResultsUnwritable when a file that was asked for cannot be written, before anything is measured.

    Raises InvalidRecord where accuracies are to be shown and cannot be read.
    """
    accuracies.read(map(Path, given.get("accuracies", ())))
    files = {name: Path(given[name]).resolve() for name in FILES if given.get(name) is not None}
    for name, path in files.items():
        if path.is_dir():
            raise ResultsUnwritable(f"--{name} {given[name]}: is a folder; give the path of a file")
        try:
            with tempfile.NamedTemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise ResultsUnwritable(f"--{name} {given[name]}: {path.parent}: {error.strerror}") from error
    if len(set(files.values())) < len(files):
        raise ResultsUnwritable(f"--{' and --'.join(files)} name one file twice; give each its own")


def show(records: Sequence[Record], given: dict[str, Any]) -> None:
    """Prints the tables of records and writes the files that were asked for."""
    known, skipped = accuracies.read(map(Path, given["accuracies"]))
    made = tables(records, baseline=given["baseline"], accuracies=known)
    for line in skipped:
        click.echo(f"skipped: {one_line(line)}", err=True)
    if given["format"] == "seed":
        click.echo("\n".join(filter(None, map(seed.render, made))))
        for row in (row for table in made for row in table.rows if not seed.fits(row)):
            click.echo(f"no line: {row.variant}: {cells.failure(row) or 'it has no optimize phase'}", err=True)
    else:
        click.echo("\n\n".join(terminal.render(table, width=width(), color=color()) for table in made))
    write_all(given, {"json": document.render, "markdown": _markdown}, made)


def color() -> bool:
    """Says whether standard output wants color."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


def width() -> int:
    """Returns the terminal's width, 120 where there is none."""
    return shutil.get_terminal_size((120, 40)).columns


def write_all(given: dict[str, Any], forms: Mapping[str, Callable[[Any], str | bytes]], content: Any) -> None:
    """Writes the files that were asked for, each in its form."""
    for name, render in forms.items():
        if given.get(name):
            written = render(content)
            if isinstance(written, str):
                # A text ends with a newline.
                written = (written if written.endswith("\n") else written + "\n").encode()
            write_whole(Path(given[name]), written)


def exit_code(records: Sequence[Record]) -> int:
    """Returns 4 when nothing was measured, 3 when a variant failed, else 0."""
    failures = [record for record in records if record.measurement.failure]
    if len(failures) == len(records):
        return FAILED if failures else NOTHING
    return FAILED if failures else 0


def _markdown(made: Sequence[Table]) -> str:
    return "\n\n".join(markdown.render(table) for table in made)
