"""`stepbench report`: show stored records again, or a comparison as the comment on a pull request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.analyze import target
from bench.data.target import TargetRecord
from bench.errors import NothingMeasured, UnknownName
from bench.store import targets
from bench.store.jsonl import scan, scan_lines

from . import output, pull_request, rule, until

DEFAULT = "results/records"
MOST_LINES = 5


@click.command("report")
@click.argument("paths", nargs=-1, metavar="[FILE]...")
@click.option("--pull-request", is_flag=True, help="FILEs are comparisons; write the comment on a pull request.")
@click.option("--output", metavar="PATH", help="Where that comment goes; else it is printed.")
@click.option("--head", metavar="SHA", help="Refuse a comparison whose head is another commit than this.")
@rule.options
@output.options
def command(paths: tuple[str, ...], **given: Any) -> int:
    """Show stored records: the newest of each variant, on each machine and under each protocol.

    FILE is a file or folder of records, or of trainings to a target (results/target); without any, results/records.
    A line that cannot be read is reported with its file and number, and the others are shown. No torch is needed.

    With --pull-request, FILEs are what `stepbench compare --json` wrote, and what `stepbench profile diff --json` wrote
    of the same variants, if there is any. They are taken for data of strangers: what does not fit is refused in one
    line, names are shown as they are and do nothing, and verdicts are formed anew from the samples, by the --threshold,
    --margin and --alpha of this command, whatever the file says. The exit code is 0 when the comment is written: what
    is slower has made `stepbench compare` end with 1.

    \b
    Examples:
      stepbench report
      stepbench report results/records/my-host --format seed
      stepbench report run.jsonl --markdown report.md
      stepbench report --pull-request comparison.json --output comment.md
      stepbench report --pull-request comparison.json profile-diff.json
      stepbench report --pull-request comparison.json --head "$(git rev-parse HEAD)"
    """
    pull_request.check(given)
    if given["pull_request"]:
        pull_request.write([Path(path) for path in paths], given)
        return 0
    chosen = [Path(path) for path in paths] or [Path(DEFAULT)]
    output.check(given)
    existing = chosen if paths or Path(DEFAULT).exists() else []
    records, damaged = scan(existing)
    trainings: tuple[TargetRecord, ...] = ()
    if not records:
        trainings, others = scan_lines(existing, targets.decode)
        damaged = others if trainings else damaged
    for line in damaged[:MOST_LINES]:
        click.echo(f"skipped: {line}", err=True)
    if len(damaged) > MOST_LINES:
        click.echo(f"skipped: {len(damaged) - MOST_LINES} more lines", err=True)
    if trainings:
        until.display(target.tables(trainings, baseline=given["baseline"]), given)
        return 0
    if not records:
        raise NothingMeasured(f"no records in {', '.join(map(str, chosen))}; `stepbench measure` writes them")
    optimizers = {record.measurement.variant.optimizer for record in records}
    # The default is a convention that records need not follow; what somebody typed is meant.
    if given["baseline"] not in {"sgd", *optimizers}:
        raise UnknownName("baseline", given["baseline"], optimizers)
    output.show(records, given)
    return 0
