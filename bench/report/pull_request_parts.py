"""What a pull request's report is made of: entries that can be left out, smallest effect first, and what stays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.analyze.comparison import ComparedVariant, Report
from bench.analyze.line_diff import ProfileDiff
from bench.report.comparison import markdown, words
from bench.report.footnotes import Footnotes, footnotes
from bench.report.markdown import escape
from bench.report.plain import cut, plural
from bench.report.profile import diff_words

# In this order they stand in a report; from the last of them entries are left out first.
Section = Literal["slower", "failed", "faster", "exact", "status", "unsure", "same"]
SECTIONS: tuple[Section, ...] = ("slower", "failed", "faster", "exact", "status", "unsure", "same")
TITLES: dict[Section, str] = {
    "slower": "Slower",
    "failed": "Failed",
    "faster": "Faster",
    "exact": "Exact counters that differ",
    "status": "New, gone or not measured",
    "unsure": "Inconclusive, which is not the same as unchanged",
    "same": "Equivalent",
}
TABLES: frozenset[Section] = frozenset({"slower", "faster", "unsure", "same"})
# What is shown of a message, a line of source, the counters of one variant, the lines of a cause, and notes.
LONGEST, MOST_FACTS, MOST_LINES, MOST_NOTES, MOST_CAUSES = 300, 8, 12, 20, 6


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of a section, of one of the comparisons; `effect` is how large what it says is, beside its section's."""

    part: int
    section: Section
    effect: float
    line: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One comparison, its notes, and the differences of profiles that belong to it."""

    report: Report
    notes: Footnotes
    causes: tuple[ProfileDiff, ...] = field(default=())


def parts(reports: Sequence[Report], diffs: Sequence[ProfileDiff]) -> list[Part]:
    """Returns the comparisons, each with the profiles of its variants."""
    return [
        Part(
            report=report,
            notes=footnotes(words.ordered(report)),
            causes=tuple(
                diff for diff in diffs if diff.head.variant in {item.duet.variant for item in report.variants}
            ),
        )
        for report in reports
    ]


def entries(number: int, part: Part) -> list[Entry]:
    """Returns the entries of one comparison."""
    found = []
    for item, marks in zip(words.ordered(part.report), part.notes.marks, strict=True):
        section = _section(item)
        shown = _facts(item)
        notes = [cut(note, LONGEST) for note in words.notes(item)]
        if section in TABLES:
            below = notes + (shown if section == "slower" else [])
            line = markdown.row(item, [mark for mark in marks if mark <= MOST_NOTES], below)
        else:
            line = f"* `{item.duet.variant}`: {escape(cut(words.status(item) or 'not measured', LONGEST))}"
        found.append(Entry(part=number, section=section, effect=_effect(item), line=line))
        if item.facts and section != "slower":
            line = f"* `{item.duet.variant}`: {'; '.join(map(escape, shown))}"
            found.append(Entry(part=number, section="exact", effect=_largest_fact(item), line=line))
    return found


def cause(diff: ProfileDiff, part: Part) -> list[str]:
    """Returns the lines of source that explain what changed; and that they are of other commits, where they are."""
    run = part.report.run
    commits = (diff.base.commit, diff.head.commit)
    where = "both commits"
    if commits != (run.base.commit, run.head.commit):
        where = " and ".join(escape((commit or "unknown")[:10]) for commit in commits) + ", other commits"
    lines = [f"`{diff.head.variant}`, by profiles of {where}:", ""]
    told = diff_words.summary(diff)
    lines += [f"* {escape(cut(text, LONGEST))}" for text in told[:MOST_LINES]]
    if len(told) > MOST_LINES:
        lines.append(f"* {plural(len(told) - MOST_LINES, 'more line')} in the profile")
    return [*lines, ""]


def _section(item: ComparedVariant) -> Section:
    if item.duet.status == "failed":
        return "failed"
    found = {row.verdict.word for row in item.rows}
    if not found:
        return "status"
    if "slower" in found or "faster" in found:
        return "slower" if "slower" in found else "faster"
    return "unsure" if "inconclusive" in found else "same"


def _effect(item: ComparedVariant) -> float:
    """Returns the largest relative change that the rows of a variant's section are about."""
    logs = [abs(math.log(row.verdict.ratio)) for row in item.rows if row.verdict.word == _section(item)]
    return max(logs or [abs(math.log(row.verdict.ratio)) for row in item.rows], default=math.inf)


def _facts(item: ComparedVariant) -> list[str]:
    facts = [cut(fact, LONGEST) for fact in words.facts(item)]
    more = [plural(len(facts) - MOST_FACTS, "more counter")] if len(facts) > MOST_FACTS else []
    return facts[:MOST_FACTS] + more


def _largest_fact(item: ComparedVariant) -> float:
    sizes = [
        abs(math.log(fact.head / fact.base)) if fact.base and fact.head and fact.head / fact.base > 0 else math.inf
        for fact in item.facts
    ]
    return max(sizes, default=0.0)
