"""`stepbench report`: show stored records again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.errors import NothingMeasured
from bench.store.jsonl import scan

from . import output

DEFAULT = "results/records"


@click.command("report")
@click.argument("paths", nargs=-1, metavar="[RECORDS]...")
@output.options
def command(paths: tuple[str, ...], **given: Any) -> int:
    """Show stored records: the newest of each variant, on each machine and under each protocol.

    RECORDS are files or folders of records; without any, results/records. A line that cannot be read is reported
    with its file and number, and the others are shown. No torch is needed.

    \b
    Examples:
      stepbench report
      stepbench report results/records/my-host --format seed
      stepbench report run.jsonl --markdown report.md
    """
    chosen = [Path(path) for path in paths] or [Path(DEFAULT)]
    output.check(given)
    records, damaged = scan(chosen if paths or Path(DEFAULT).exists() else [])
    for line in damaged:
        click.echo(f"skipped: {line}", err=True)
    if not records:
        raise NothingMeasured(f"no records in {', '.join(map(str, chosen))}; `stepbench measure` writes them")
    output.show(records, given)
    return 0
