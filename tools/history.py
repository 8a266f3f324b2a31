"""`stepbench history`: how a step's cost went over commits, and where it changed."""

from __future__ import annotations

import datetime as dt
import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.analyze import history as analysis
from bench.data.metric import METRICS
from bench.data.record import Record
from bench.errors import InvalidOption, InvalidRepository, NothingMeasured, StepbenchError, UnknownName
from bench.plugin import Registry
from bench.report.history import document, markdown, page, text
from bench.run import commits, snapshot
from bench.run.select import select
from bench.store.jsonl import scan

from . import output

MOST_LINES = 5


@click.command("history")
@click.argument("selection", nargs=-1, metavar="[SELECT]...")
@click.option(
    "--results", "results", multiple=True, default=("results/records",), show_default=True, metavar="PATH",
    help="A file or folder of records; repeatable.",
)  # fmt: skip
@click.option("--repo", default=".", show_default=True, metavar="PATH", help="A folder of the repository.")
@click.option("--branch", default="HEAD", show_default=True, metavar="COMMIT", help="Commits that led to this one.")
@click.option("--since", metavar="WHEN", help="A date such as 2026-11-01, or a commit.")
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="step, optimize, ...; repeatable.  [default: all]"
)
@click.option("--baseline", metavar="OPTIMIZER", help="Show times as multiples of this row's of the same run.")
@click.option("--host", metavar="NAME", help="Records of this machine only.")
@click.option("--bisect", is_flag=True, help="Compare commits along the range of the largest change, to name the one.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="As in stepbench compare, for --bisect.")
@click.option("--path", metavar="FOLDER", help="As in stepbench compare, for --bisect.")
@click.option("--budget", type=float, default=30.0, show_default=True, metavar="SECONDS", help="Of one comparison.")
@click.option("--workers", type=int, default=4, show_default=True, metavar="N", help="Of one comparison.")
@click.option("--html", metavar="PATH", help="Write a page with a plot of each series.")
@click.option("--json", metavar="PATH", help="Write series, levels and changes as a document with a schema version.")
@click.option("--markdown", metavar="PATH", help="Write the changes for a page of text.")
def command(selection: tuple[str, ...], **given: Any) -> int:
    """Show how the cost of steps went over commits, and where it changed.

    SELECT picks variants as in `stepbench measure`, or other tools' benchmarks by a glob of their name; without any,
    all are shown. Records share a series when machine, software and protocol agree. Commits stand in the order of the
    repository's history where the records are of its commits, else by date.

    A change is a lasting step in a series of at least 8 commits that noise does not explain, also where noise lasts
    from one commit to the next; fewer than 1 in 100 series without a change show one. It is named with the commits
    between which it lies, its size, and the command that measures these against each other. --bisect runs that
    comparison, and then others along the range, until one commit is left.

    \b
    Examples:
      stepbench history
      stepbench history 'resnet20/*' --metric optimize --since 2026-11-01
      stepbench history --html history.html
      stepbench history 'vit/eva*' --baseline sgd
      stepbench history resnet20/eva/none --metric optimize --bisect

    \b
    Exit codes:
      0 fine  1 --bisect named a commit that is slower  2 wrong usage
      4 there is no series  5 --bisect could not name one commit
    """
    output.check(given)
    unknown = [name for name in given["metrics"] if name not in METRICS]
    if unknown:
        raise UnknownName("metric", unknown[0], METRICS)
    every = _records([Path(path) for path in given["results"]], given["host"])
    optimizers = {record.measurement.variant.optimizer for record in every}
    if given["baseline"] not in {None, *optimizers}:
        raise UnknownName("baseline", given["baseline"], optimizers)
    records = _chosen(every, selection)
    order, ordered = _order(Path(given["repo"]), given["branch"], records)
    found = analysis.history(
        records,
        commits=order,
        ordered=ordered,
        metrics=given["metrics"] or analysis.DEFAULT_METRICS,
        since=_since(given["since"], Path(given["repo"])),
        baseline=given["baseline"],
        among=every,
    )
    if not found.series:
        left = "".join(f"; {count} {reason}" for reason, count in found.left_out.items())
        raise NothingMeasured(
            f"no two commits of one variant on one machine in {len(records)} records{left}; "
            "measure another commit, or `stepbench ingest` what asv stored"
        )
    forms = {"json": document.render, "markdown": markdown.render, "html": page.render}
    output.write_all(given, forms, found)
    click.echo(text.render(found, width=output.width(), color=output.color()))
    if not given["bisect"]:
        return 0
    # Reading a history needs no torch.
    from . import history_bisect

    return history_bisect.run(found, given)


def _records(paths: Sequence[Path], host: str | None) -> list[Record]:
    records, damaged = scan(path for path in paths if path.exists() or paths != [Path("results/records")])
    for line in damaged[:MOST_LINES]:
        click.echo(f"skipped: {line}", err=True)
    if len(damaged) > MOST_LINES:
        click.echo(f"skipped: {len(damaged) - MOST_LINES} more lines", err=True)
    if not records:
        raise NothingMeasured(
            f"no records in {', '.join(map(str, paths))}; `stepbench measure` and `stepbench ingest` write them"
        )
    hosts = {record.environment.host for record in records}
    if host is not None and host not in hosts:
        raise UnknownName("host", host, hosts)
    return [record for record in records if host in {None, record.environment.host}]


def _chosen(records: list[Record], patterns: Sequence[str]) -> list[Record]:
    """Returns the records that patterns name, by variants of ours or by what another tool calls its benchmarks."""
    foreign = {str(record.origin) for record in records if record.origin is not None and not record.origin.own}
    named = {name for name in foreign if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)}
    rest = [pattern for pattern in patterns if not any(fnmatch.fnmatchcase(name, pattern) for name in foreign)]
    if not patterns:
        return records
    variants = list(dict.fromkeys(record.measurement.variant for record in records))
    registry = Registry()
    for axis in ("model", "optimizer", "quantization"):
        for name in dict.fromkeys(getattr(variant, axis) for variant in variants):
            getattr(registry, axis)(name)(lambda: None)
    chosen = set(select(registry, rest, map(str, variants), {})) if rest else set()
    return [record for record in records if record.measurement.variant in chosen or str(record.origin) in named]


def _order(repo: Path, branch: str, records: Sequence[Record]) -> tuple[dict[str, int] | None, str]:
    """Returns the repository's commits in order, with how that is said; None where the records are of none of them."""
    try:
        found = commits.history(snapshot.top_level(repo), branch)
    except InvalidRepository as error:
        if branch != "HEAD" or repo != Path():
            raise
        return None, f"by date, since {error}"
    short = {commit[:7] for commit in found}
    if any((record.environment.commit or "")[:7] in short for record in records):
        return found, f"in the order of the history of {branch}"
    return None, "by date, since the repository here has none of them"


def _since(given: str | None, repo: Path) -> str | None:
    """Returns the moment that a date or a commit stands for."""
    if given is None:
        return None
    try:
        found = dt.datetime.fromisoformat(given)
        return found.replace(tzinfo=found.tzinfo or dt.UTC).astimezone(dt.UTC).isoformat(timespec="seconds")
    except ValueError:
        pass
    try:
        seconds = list(commits.history(snapshot.top_level(repo), given).values())[-1]
    except StepbenchError as error:
        raise InvalidOption(f"--since {given}: neither a date, such as 2026-11-01, nor a commit: {error}") from error
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
