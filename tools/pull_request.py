"""The comment on a pull request, from files that a stranger may have written: `stepbench report --pull-request`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench.analyze import comparison
from bench.analyze.line_diff import ProfileDiff, diff
from bench.analyze.verdict import Rule
from bench.data.duet import DuetRun
from bench.errors import InvalidOption, InvalidRecord
from bench.report import pull_request
from bench.store import comparisons, profiles, strict

from . import output, rule

PROFILE_DIFF = profiles.KINDS[1]
# Finding out which line is which takes time that grows with their square.
MOST_SOURCE_LINES = 20_000
OWN = ("output", "head", "threshold", "margin", "alpha")
OF_RECORDS = ("json", "format", "baseline")


def check(given: dict[str, Any]) -> None:
    """Raises InvalidOption for an option of the other kind of report, which would do nothing."""
    source = click.get_current_context().get_parameter_source
    if not given["pull_request"]:
        wrong = [name for name in OWN if source(name) is ParameterSource.COMMANDLINE]
        if wrong:
            raise InvalidOption(f"--{wrong[0]}: belongs to --pull-request; --markdown and --json write the table")
    else:
        wrong = [name for name in OF_RECORDS if source(name) is ParameterSource.COMMANDLINE]
        if wrong:
            raise InvalidOption(f"--{wrong[0]}: is for records; --pull-request writes to --output and --markdown only")
    head = given["head"]
    if head is not None and not re.fullmatch(r"[0-9a-f]{7,64}", head):
        raise InvalidOption(f"--head {head}: give a commit as git writes it, of 7 to 64 digits from 0 to f")


def write(paths: Sequence[Path], given: dict[str, Any]) -> None:
    """Renders comparisons; a file that cannot be read is an error, since half a report would look like a whole one."""
    output.check(given)
    judged_by = rule.chosen(given)
    if not paths:
        raise InvalidOption("--pull-request: give the file of a comparison; `stepbench compare --json PATH` writes one")
    reports: list[comparison.Report] = []
    diffs: list[ProfileDiff] = []
    for path in paths:
        content = _read(path)
        if isinstance(content, dict) and content.get("kind") == PROFILE_DIFF:
            diffs.append(difference(path))
        else:
            stored = comparisons.convert(content, str(path))
            _check_head(path, stored.run, given["head"])
            _say_rule(path, stored.rule, judged_by)
            reports.append(comparison.report(stored.run, stored.duets, judged_by, len(stored.duets)))
    if not reports:
        raise InvalidOption(f"{paths[0]}: the difference of profiles alone is no report; give the comparison, too")
    text = pull_request.render(reports, diffs)
    written = [given[name] for name in ("output", "markdown") if given[name] is not None]
    output.write_all(given, {"output": str, "markdown": str}, text)
    if not written:
        click.echo(text)


def _read(path: Path) -> Any:
    try:
        return strict.read(path, most_bytes=comparisons.MOST_BYTES, longest=comparisons.LONGEST_TEXT)
    except InvalidRecord as error:
        if path.suffix != ".jsonl" or not path.is_file():
            raise
        raise InvalidRecord(
            f"{path}: lines of records, it seems, which `stepbench report` shows without --pull-request; a comparison "
            "is what `stepbench compare --json PATH` writes"
        ) from error


def _check_head(path: Path, run: DuetRun, wanted: str | None) -> None:
    if wanted is None:
        return
    if not run.head.commit.startswith(wanted):
        raise InvalidRecord(f"{path}: a comparison of head {run.head.commit}, and not of {wanted}; measure that one")
    if run.head.dirty:
        raise InvalidRecord(f"{path}: a comparison of {wanted} with uncommitted changes, which are not that commit")


def _say_rule(path: Path, stored: comparisons.StoredRule, judged_by: Rule) -> None:
    """Says where the rule of a comparison was another one: whoever wrote it may not choose what passes."""
    theirs = (stored.threshold, stored.margin, stored.alpha)
    if theirs != (judged_by.threshold, judged_by.margin, judged_by.alpha):
        named = ", ".join(
            f"{name} {value:g}" for name, value in zip(("threshold", "margin", "alpha"), theirs, strict=True)
        )
        click.echo(f"note: {path} was measured by {named}; the options of this command judge it", err=True)


def difference(path: Path) -> ProfileDiff:
    """Returns the difference of the two profiles of a document, formed anew."""
    try:
        base, head = profiles.read(path)
        lines = sum(len(function.lines) for side in (base, head) for function in side.functions)
        if lines > MOST_SOURCE_LINES:
            raise InvalidRecord(f"{path}: {lines:,} lines of source; at most {MOST_SOURCE_LINES:,} are compared")
        return diff(base, head)
    except (KeyError, ValueError, ArithmeticError, IndexError) as error:
        raise InvalidRecord(f"{path}: two profiles that do not fit together ({error})") from error
