"""`stepbench report`: show stored records again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.errors import NothingMeasured, UnknownName
from bench.store.jsonl import scan

from . import output

DEFAULT = "results/records"
MOST_LINES = 5


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
    for line in damaged[:MOST_LINES]:
        click.echo(f"skipped: {line}", err=True)
    if len(damaged) > MOST_LINES:
        click.echo(f"skipped: {len(damaged) - MOST_LINES} more lines", err=True)
    if not records:
        raise NothingMeasured(f"no records in {', '.join(map(str, chosen))}; `stepbench measure` writes them")
    optimizers = {record.measurement.variant.optimizer for record in records}
    # The default is a convention that records need not follow; what somebody typed is meant.
    if given["baseline"] not in {"sgd", *optimizers}:
        raise UnknownName("baseline", given["baseline"], optimizers)
    output.show(records, given)
    return 0
