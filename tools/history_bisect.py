"""`stepbench history --bisect`: which commit is it? Comparisons along the range of a change, until one is left."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from bench.analyze.series import History, Series
from bench.analyze.verdict import Rule, Verdict
from bench.data.metric import METRICS
from bench.data.protocol import Protocol
from bench.errors import InvalidOption, NothingMeasured, StepbenchError
from bench.report.comparison.words import change as written
from bench.report.comparison.words import interval
from bench.report.history import words
from bench.report.plain import one_line
from bench.run import commits, snapshot
from bench.run.select import select

from . import comparing, output, versions

REGRESSION, INCONCLUSIVE = 1, 5
# A change is there from half its size on, and not there where less than half of it is left: so either verdict is near.
HALF = 0.5
# What has no verdict in time gets so many times the time, once.
PATIENCE = 2


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Whether the change lies between two commits, with the verdict, or the reason why there is none."""

    answer: Literal["there", "not there", "unsure", "broken"]
    verdict: Verdict | None = None
    reason: str = ""


class Search:
    """Looks for a change of one metric of one variant by some ratio; no pair of commits is compared twice."""

    def __init__(self, folder: Path, series: Series, ratio: float, given: dict[str, Any]) -> None:
        self.folder = folder
        self.series = series
        # Side by side, the wall's time is known as well as that of the CPU.
        self.metric = series.metric.removesuffix(".cpu")
        self.ratio = ratio
        self.given = given
        self._answers: dict[tuple[str, str], Asked] = {}

    def asked(self, base: str, head: str) -> Asked:
        """Compares two commits, and prints what came out."""
        if (base, head) not in self._answers:
            found = self._answers[base, head] = self._compared(base, head)
            size = f": {written(found.verdict)} ({interval(found.verdict)})" if found.verdict is not None else ""
            reason = f"; {one_line(found.reason)}" if found.reason else ""
            click.echo(f"  {base[:10]} against {head[:10]}: {found.answer}{size}{reason}")
        return self._answers[base, head]

    def _compared(self, base: str, head: str) -> Asked:
        reach = HALF * abs(self.ratio - 1)
        rule = Rule(threshold=min(reach, 0.5), margin=min(reach, 0.5))
        found = Asked(answer="broken", reason="not measured")
        for times in (1, PATIENCE):
            try:
                found = self._once(base, head, rule, self.given | {"budget": self.given["budget"] * times})
            except StepbenchError as error:
                return Asked(answer="broken", reason=str(error))
            if found.answer != "unsure":
                break
        return found

    def _once(self, base: str, head: str, rule: Rule, given: dict[str, Any]) -> Asked:
        report, interrupted = comparing.compared(
            self.folder,
            (
                versions.named("base", self.folder, base, given["path"], given["plugins"]),
                versions.named("head", self.folder, head, given["path"], given["plugins"]),
            ),
            lambda registry: select(registry, [str(self.series.variant)], None, {}),
            rule,
            given,
            metric=self.metric,
        )
        if interrupted:
            raise KeyboardInterrupt
        (item,) = report.variants
        verdict = next((row.verdict for row in item.rows if row.metric == self.metric), None)
        if verdict is None:
            return Asked(answer="broken", reason=item.duet.failure or f"{item.duet.status} there")
        if not verdict.stands:
            return Asked(answer="unsure", verdict=verdict, reason="no verdict in time")
        there = verdict.word == ("slower" if self.ratio > 1 else "faster")
        return Asked(answer="there" if there else "not there", verdict=verdict)


def run(history: History, given: dict[str, Any]) -> int:
    """Takes the largest change of a time that can be measured here, confirms it, and names its commit."""
    found = [
        (series, change)
        for series, change in history.changes
        if not change.exact and words.measurable(series) and METRICS[series.metric].timed
    ]
    if not found:
        raise NothingMeasured(
            "--bisect: there is no change of a time of a variant that `stepbench compare` measures; see the table, and "
            "--metric"
        )
    series, change = found[0]
    folder = snapshot.top_level(Path(given["repo"]))
    good, bad = change.before.commit, change.after.commit
    line = commits.between(folder, good, bad)
    if not line:
        raise NothingMeasured(f"--bisect: {bad[:10]} does not build on {good[:10]} in {folder}; {_advice(folder, bad)}")
    click.echo(f"\nbisecting {words.sentence(series, change)}: {len(line)} commit{'s' * (len(line) > 1)}")
    assert change.ratio is not None
    settings = given | {
        "data": series.protocol.data if series.origin is None else "digits",
        "seed": series.protocol.seed,
        "threads": series.variant.threads,
        "device": series.variant.device,
        "isolation": "auto",
    }
    search = Search(folder, series, change.ratio, settings)
    asked = search.asked(good, bad)
    if asked.answer == "not there":
        click.echo("the change is not in the code: side by side, both ends cost the same; look at the machine")
        return 0
    if asked.verdict is None or asked.answer != "there":
        click.echo(f"no commit is named: {one_line(asked.reason)}")
        return output.FAILED if asked.answer == "broken" else INCONCLUSIVE
    # What was measured side by side is known better than what a series shows.
    search.ratio = asked.verdict.ratio
    likely = line.index(change.likely.commit) if change.likely.commit in line else -1
    return narrowed(search, good, line, [likely, likely - 1])


def check(given: dict[str, Any]) -> None:
    """Raises InvalidOption for options of comparisons that none could be made with, before anything is shown."""
    Protocol(budget_s=given["budget"], workers=given["workers"])
    folder = snapshot.top_level(Path(given["repo"]))
    for plugin in given["plugins"]:
        file = Path(plugin).resolve()
        if not file.is_file() and not commits.had(folder, given["branch"], file):
            raise InvalidOption(f"--plugin {plugin}: there is no such file, nor was there one in {folder}")
    path = given["path"]
    if path is not None and not commits.had(folder, given["branch"], folder / path):
        raise InvalidOption(f"--path {path}: {folder} has no such folder, nor had it one; it is one of the repository")


def _advice(folder: Path, commit: str) -> str:
    if snapshot.is_commit(folder, commit):
        return "they stand on two branches, of which --branch COMMIT shows one by itself"
    return "give the repository of these commits with --repo"


def narrowed(search: Search, good: str, line: list[str], hints: list[int]) -> int:
    """Halves the range until one commit is left, asking at the hinted places first; passes by what is not measurable.

    All are compared with the same good commit, so that a second, smaller change on the way cannot hide the first.
    """
    first, end, before, skipped = 0, len(line) - 1, good, set[int]()
    while first < end:
        left = [place for place in range(first, end) if place not in skipped]
        if not left:
            count = end - first + 1
            click.echo(f"after {before[:10]}, by {line[end][:10]}: {count} commits that cannot be told apart")
            return INCONCLUSIVE
        hints = [place for place in hints if place in left]
        middle = hints.pop() if hints else min(left, key=lambda place: abs(2 * place - first - end + 1))
        answer = search.asked(good, line[middle]).answer
        if answer == "there":
            end = middle
        elif answer == "not there":
            first, before = middle + 1, line[middle]
        else:
            skipped.add(middle)
    named = line[end]
    asked = search.asked(before, named)
    if asked.verdict is None or asked.answer != "there":
        why = one_line(asked.reason) or "both cost the same"
        click.echo(f"{named[:10]} is the only one left, but it does not show beside {before[:10]}: {why}")
        return INCONCLUSIVE
    size = f"{search.metric} {written(asked.verdict)} ({interval(asked.verdict)})"
    subject = one_line(commits.subject(search.folder, named))
    click.echo(f"it is {named[:10]}, {subject!r}: {search.series.variant} {size}")
    return REGRESSION if asked.verdict.word == "slower" else 0
