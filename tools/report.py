"""`stepbench report`: show stored records again, or a comparison as the comment on a pull request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.analyze import comparison, target
from bench.analyze.line_diff import ProfileDiff, diff
from bench.analyze.verdict import Rule
from bench.data.target import TargetRecord
from bench.errors import InvalidOption, InvalidRecord, NothingMeasured, UnknownName
from bench.report import pull_request
from bench.store import comparisons, profiles, strict, targets
from bench.store.jsonl import scan, scan_lines

from . import output, until

DEFAULT = "results/records"
MOST_LINES = 5
PROFILE_DIFF = profiles.KINDS[1]
# Finding out which line is which takes time that grows with their square.
MOST_SOURCE_LINES = 20_000


@click.command("report")
@click.argument("paths", nargs=-1, metavar="[FILE]...")
@click.option("--pull-request", is_flag=True, help="FILEs are comparisons; write the comment on a pull request.")
@click.option("--output", metavar="PATH", help="Where that comment goes; else it is printed.")
@output.options
def command(paths: tuple[str, ...], **given: Any) -> int:
    """Show stored records: the newest of each variant, on each machine and under each protocol.

    FILE is a file or folder of records, or of trainings to a target (results/target); without any, results/records.
    A line that cannot be read is reported with its file and number, and the others are shown. No torch is needed.

    With --pull-request, FILEs are what `stepbench compare --json` wrote, and what `stepbench profile diff --json` wrote
    of the same variants, if there is any. They are taken for data of strangers: what does not fit is refused in one
    line, names are shown as they are and do nothing, and verdicts are formed anew from the samples.

    \b
    Examples:
      stepbench report
      stepbench report results/records/my-host --format seed
      stepbench report run.jsonl --markdown report.md
      stepbench report --pull-request comparison.json --output comment.md
      stepbench report --pull-request comparison.json profile-diff.json
    """
    if given["pull_request"]:
        return _pull_request([Path(path) for path in paths], given)
    if given["output"] is not None:
        raise InvalidOption("--output: belongs to --pull-request; --markdown and --json write the table")
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


def _pull_request(paths: Sequence[Path], given: dict[str, Any]) -> int:
    """Renders comparisons; a file that cannot be read is an error, since half a report would look like a whole one."""
    output.check(given)
    if not paths:
        raise InvalidOption("--pull-request: give the file of a comparison; `stepbench compare --json PATH` writes one")
    reports: list[comparison.Report] = []
    diffs: list[ProfileDiff] = []
    for path in paths:
        content = strict.read(path, most_bytes=comparisons.MOST_BYTES, longest=comparisons.LONGEST_TEXT)
        if isinstance(content, dict) and content.get("kind") == PROFILE_DIFF:
            diffs.append(_difference(path))
        else:
            stored = comparisons.convert(content, str(path))
            rule = Rule(threshold=stored.rule.threshold, margin=stored.rule.margin, alpha=stored.rule.alpha)
            reports.append(comparison.report(stored.run, stored.duets, rule, len(stored.duets)))
    if not reports:
        raise InvalidOption(f"{paths[0]}: the difference of profiles alone is no report; give the comparison, too")
    text = pull_request.render(reports, diffs)
    written = [given[name] for name in ("output", "markdown") if given[name] is not None]
    output.write_all(given, {"output": str, "markdown": str}, text)
    if not written:
        click.echo(text)
    return 0


def _difference(path: Path) -> ProfileDiff:
    """Returns the difference of the two profiles of a document, formed anew."""
    try:
        base, head = profiles.read(path)
        lines = sum(len(function.lines) for side in (base, head) for function in side.functions)
        if lines > MOST_SOURCE_LINES:
            raise InvalidRecord(f"{path}: {lines:,} lines of source; at most {MOST_SOURCE_LINES:,} are compared")
        return diff(base, head)
    except (KeyError, ValueError, ArithmeticError, IndexError) as error:
        raise InvalidRecord(f"{path}: two profiles that do not fit together ({error})") from error
