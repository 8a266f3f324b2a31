"""`stepbench history`: how a step's cost went over commits, and where it changed."""

from __future__ import annotations

import datetime as dt
import fnmatch
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.analyze import history as analysis
from bench.data.metric import METRICS
from bench.data.record import Record
from bench.data.variant import NONE, PART_AXES, Variant
from bench.errors import InvalidOption, InvalidRepository, NothingMeasured, StepbenchError, UnknownName
from bench.plugin import Registry
from bench.report.history import document, markdown, page, text
from bench.run import commits, snapshot
from bench.run.select import select
from bench.store.jsonl import scan

from . import output

MOST_LINES = 5
# Of the names that are known, those that an error lists.
MOST_NAMED = 10
DATE = re.compile(r"\d{4}-\d\d")


@click.command("history")
@click.argument("selection", nargs=-1, metavar="[SELECT]...")
@click.option(
    "--results", "results", multiple=True, default=("results/records",), show_default=True, metavar="PATH",
    help="A file or folder of records; repeatable.",
)  # fmt: skip
@click.option("--repo", default=".", show_default=True, metavar="PATH", help="A folder of the repository.")
@click.option(
    "--branch", default="HEAD", show_default=True, metavar="COMMIT", help="Commits that led to it, along first parents."
)
@click.option("--since", metavar="WHEN", help="A date such as 2026-11-01, or a commit.")
@click.option(
    "--metric", "metrics", multiple=True, metavar="NAME", help="step, optimize, ...; repeatable.  [default: all]"
)
@click.option("--baseline", metavar="OPTIMIZER", help="Show times as multiples of this row's of the same run.")
@click.option("--host", metavar="NAME", help="Records of this machine only.")
@click.option("--bisect", is_flag=True, help="Compare commits along the range of the largest change, to name the one.")
@click.option("--plugin", "plugins", multiple=True, metavar="FILE", help="As in stepbench compare, where one is made.")
@click.option("--path", metavar="FOLDER", help="As --plugin.")
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
      3 --bisect could not measure an end of the range  4 there is no series
      5 --bisect could not name one commit
    """
    output.check(given)
    if given["bisect"]:
        # Reading a history needs no torch.
        from . import history_bisect

        history_bisect.check(given)
    unknown = [name for name in given["metrics"] if name not in METRICS]
    if unknown:
        raise UnknownName("metric", unknown[0], METRICS)
    every = _records([Path(path) for path in given["results"]], given["host"])
    optimizers = {record.measurement.variant.optimizer for record in every}
    if given["baseline"] not in {None, *optimizers}:
        raise UnknownName("baseline", given["baseline"], optimizers)
    records = _chosen(every, selection)
    if {record.measurement.variant.optimizer for record in records} == {given["baseline"]}:
        raise NothingMeasured(
            f"--baseline {given['baseline']}: the records are its own, and others are what is shown beside it; choose "
            "these, or leave --baseline out"
        )
    order, ordered = _order(Path(given["repo"]), given["branch"], records)
    found = analysis.history(
        records,
        commits=order,
        ordered=ordered,
        metrics=given["metrics"] or analysis.DEFAULT_METRICS,
        since=_since(given["since"], Path(given["repo"])),
        baseline=given["baseline"],
        among=every,
        options=_options(given),
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
    return history_bisect.run(found, given) if given["bisect"] else 0


def _options(given: dict[str, Any]) -> tuple[str, ...]:
    """Returns the options with which a comparison finds the repository and the parts that this call was given."""
    repo = ("--repo", given["repo"]) if given["repo"] != "." else ()
    path = ("--path", given["path"]) if given["path"] is not None else ()
    return (*repo, *(word for plugin in given["plugins"] for word in ("--plugin", plugin)), *path)


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
    if not patterns:
        return records
    foreign = {str(record.origin) for record in records if _is_foreign(record)}
    ours = list(dict.fromkeys(record.measurement.variant for record in records if not _is_foreign(record)))
    registry = Registry()
    for axis in PART_AXES:
        for name in dict.fromkeys(getattr(variant, axis) for variant in ours):
            if axis == "model" or name != NONE:
                getattr(registry, axis)(name)(lambda: None)
    named: set[str] = set()
    chosen: set[Variant] = set()
    for pattern in patterns:
        found = fnmatch.filter(foreign, pattern)
        named.update(found)
        if not found:
            chosen.update(_variants(registry, pattern, ours, foreign))
    return [
        record
        for record in records
        if (str(record.origin) in named if _is_foreign(record) else record.measurement.variant in chosen)
    ]


def _is_foreign(record: Record) -> bool:
    return record.origin is not None and not record.origin.own


def _variants(registry: Registry, pattern: str, ours: list[Variant], foreign: set[str]) -> list[Variant]:
    """Returns the variants that a pattern picks; an error names what is in the records, and nothing else."""
    try:
        return select(registry, [pattern], map(str, ours), {})
    except StepbenchError as error:
        if isinstance(error, UnknownName) and "/" in pattern and error.kind != "model":
            raise
        if isinstance(error, UnknownName):
            models = dict.fromkeys(variant.model for variant in ours)
            raise UnknownName("model or benchmark", pattern, [*models, *sorted(foreign)[:MOST_NAMED]]) from error
        if not isinstance(error, NothingMeasured):
            raise
        there = [*map(str, ours), *sorted(foreign)]
        more = f" and {len(there) - MOST_NAMED} more" if len(there) > MOST_NAMED else ""
        raise NothingMeasured(
            f"{pattern!r} matches none of the records, which are of {', '.join(there[:MOST_NAMED])}{more}"
        ) from error


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
    return None, f"by date, since the history of {branch} here has none of them along its first parents"


def _since(given: str | None, repo: Path) -> str | None:
    """Returns the moment that a date or a commit stands for."""
    if given is None:
        return None
    try:
        found = dt.datetime.fromisoformat(given)
        return found.replace(tzinfo=found.tzinfo or dt.UTC).astimezone(dt.UTC).isoformat(timespec="seconds")
    except ValueError as error:
        if DATE.match(given):
            raise InvalidOption(f"--since {given}: no such date ({error}); give one as 2026-11-01") from error
    try:
        seconds = list(commits.history(snapshot.top_level(repo), given).values())[-1]
    except StepbenchError as error:
        raise InvalidOption(f"--since {given}: neither a date, such as 2026-11-01, nor a commit: {error}") from error
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
