"""`stepbench ingest`: read what asv and pytest-benchmark have measured into records."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from bench.errors import InvalidRecord, NothingMeasured
from bench.report.plain import one_line, plural
from bench.store import ingest

MOST_LINES = 10
DAMAGED = 2


@click.command("ingest")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option(
    "--results", default="results/records", show_default=True, metavar="DIR", help="Where records are stored."
)
def command(paths: tuple[str, ...], results: str) -> int:
    """Read other tools' results into records, for `stepbench history` and `stepbench report`.

    PATH is a file that `asv run` or `pytest --benchmark-json` (or --benchmark-save) wrote, or a folder of such files,
    such as .asv/results or .benchmarks. Each file becomes a run; what is read a second time changes nothing. What a
    record has no place for, such as which round a sample is from and the tool's own statistics, goes to a side file,
    *.side.ndjson, beside the records. A file that cannot be read is one line, and the others are read.

    \b
    Examples:
      stepbench ingest results/asv
      stepbench ingest .benchmarks --results results/records
      stepbench ingest run.json && stepbench history

    \b
    Exit codes:
      0 all files were read  2 one was not, or wrong usage  4 there was nothing to read
    """
    stored = records = again = 0
    damaged: list[str] = []
    unmapped: Counter[str] = Counter()
    there = ingest.known(Path(results))
    for path in ingest.files([Path(each) for each in paths]):
        try:
            found = ingest.read(path)
            new = ingest.store(Path(results), found, there)
        except InvalidRecord as error:
            damaged.append(str(error))
            continue
        unmapped += Counter({f"{found.tool}: {reason}": count for reason, count in found.unmapped.items()})
        again += not new
        stored += new
        records += len(found.records) * new
    before = f"; {plural(again, 'file')} {'was' if again == 1 else 'were'} read before"
    click.echo(f"{plural(records, 'record')} from {plural(stored, 'file')}" + before * bool(again))
    for reason, count in sorted(unmapped.items()):
        click.echo(f"no record for {plural(count, 'benchmark')}, {one_line(reason)}")
    _list(damaged)
    if damaged:
        return DAMAGED
    if not stored and not again:
        raise NothingMeasured(
            f"no file that ends in .json in {', '.join(paths)}; asv keeps its results below the results_dir of its "
            "asv.conf.json, pytest-benchmark in .benchmarks"
        )
    return 0


def _list(damaged: list[str]) -> None:
    for line in damaged[:MOST_LINES]:
        click.echo(f"skipped: {one_line(line)}", err=True)
    if len(damaged) > MOST_LINES:
        click.echo(f"skipped: {plural(len(damaged) - MOST_LINES, 'more file')}", err=True)
