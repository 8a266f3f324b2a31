"""Shows the accuracy trail of `stepbench quantize`, and writes it where it was asked for."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table

from lowbit.pipeline import trail, trail_text
from lowbit.pipeline.trail import Trail

from . import output


def show(trails: Sequence[Trail], folder: Path, given: dict[str, Any]) -> None:
    """Prints the trail, and writes it beside the checkpoints and where it was asked for."""
    _print(trails)
    versions = {"stepbench": metadata.version("stepbench"), "torch": str(torch.__version__)}
    versions["python"] = platform.python_version()
    forms: dict[str, Callable[[Any], str | bytes]] = {
        "json": lambda found: json.dumps(trail.document(found, versions), indent=1),
        "markdown": trail_text.markdown,
    }
    own = {"json": str(folder / "trail.json"), "markdown": str(folder / "trail.md")}
    for files in (own, given):
        output.write_all(files, forms, trails)
    click.echo(f"stored: {folder}", err=True)


def _print(trails: Sequence[Trail]) -> None:
    console = Console(file=sys.stdout, highlight=False, no_color=not output.color(), width=output.width())
    console.print(trail_text.heading(trails), style="dim", markup=False)
    table = Table(box=None, pad_edge=False)
    for number, name in enumerate(trail_text.HEADINGS):
        table.add_column(name, justify="right" if number in trail_text.RIGHT else "left", no_wrap=True)
    for row in trail_text.cells(trails):
        table.add_row(*row)
    console.print(table)
    console.print(trail_text.legend(trails), style="dim", markup=False)
    for number, note in enumerate(trail_text.notes(trails), 1):
        console.print(f"[{number}] {note}", style="yellow", markup=False)
