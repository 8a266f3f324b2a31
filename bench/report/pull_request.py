"""The comment on a pull request: the verdict first, regressions open, the rest folded, and never too long to post."""

from __future__ import annotations

import bisect
import statistics
from collections.abc import Sequence
from dataclasses import replace

from bench.analyze.comparison import Report
from bench.analyze.line_diff import ProfileDiff
from bench.analyze.verdict import Word
from bench.report import cells
from bench.report.comparison import markdown, words
from bench.report.comparison.again import Again, again, missing
from bench.report.markdown import escape
from bench.report.plain import cut, plural
from bench.report.profile.markdown import fenced
from bench.report.pull_request_parts import (
    LONGEST,
    MOST_CAUSES,
    MOST_NOTES,
    SECTIONS,
    TABLES,
    TITLES,
    Entry,
    Part,
    Section,
    cause,
    entries,
    parts,
)

# By this, whoever posts the comment finds the one that is there, and replaces its text.
MARKER = "<!-- stepbench -->"
# GitHub refuses a longer comment. An emoji counts twice there.
MOST_CHARACTERS = 65_536
# Variants in the command that measures again.
MOST_NAMED = 12
_RANK: dict[Word, int] = {"slower": 0, "inconclusive": 2, "faster": 3, "equivalent": 4}
FAILED = 1
# How much there is beside entries: all of it, then without lines of source, then without how it was measured, then the
# verdict alone. Only who writes long names to that end comes to the last ones.
_DETAILS = (3, 2, 1, 0)
_FOLDED: tuple[Section, ...] = ("faster", "exact", "status", "unsure", "same")


def render(reports: Sequence[Report], diffs: Sequence[ProfileDiff] = ()) -> str:
    """Returns the comment on some comparisons, at most 65,536 characters of GitHub's markdown.

    Nothing in it is active: names and messages of others show as they are, and notify and link nobody. Where it would
    be too long, entries are left out, from the last section on and in each the smallest effects first, and it says so.
    """
    found = parts(reports, diffs)
    every = [entry for number, part in enumerate(found) for entry in entries(number, part)]
    # Stable, so that equals stay in the order of the comparison.
    ranked = sorted(every, key=lambda entry: (SECTIONS.index(entry.section), -entry.effect))
    text = ""
    for detail in _DETAILS:
        text = _fitting(found, ranked, detail)
        if length(text) <= MOST_CHARACTERS:
            break
    return text


def _fitting(found: Sequence[Part], ranked: Sequence[Entry], detail: int) -> str:
    """Returns the text with as many entries as there is room for, or with none where there is no room for any."""

    def written(left_out: int) -> str:
        return _text(found, ranked[: len(ranked) - left_out], left_out, detail)

    tries = range(len(ranked) + 1)
    fewest = bisect.bisect_left(tries, True, key=lambda left_out: length(written(left_out)) <= MOST_CHARACTERS)
    return written(min(fewest, len(ranked)))


def length(text: str) -> int:
    """Returns how many characters GitHub counts: units of UTF-16."""
    return len(text.encode("utf-16-le")) // 2


def _text(found: Sequence[Part], kept: Sequence[Entry], left_out: int, detail: int) -> str:
    worst = min(found, key=lambda part: _badness(part.report))
    lines = [MARKER, f"**{_verdict(worst.report)}**", ""]
    if left_out:
        what = "entry with a smaller change is" if left_out == 1 else "entries with smaller changes are"
        lines += [f"{left_out:,} {what} left out: a comment has no room for more.", ""]
    if detail < _DETAILS[0]:
        lines += ["Names or messages are too long for all of the rest to be shown.", ""]
    for number, part in enumerate(found) if detail else ():
        if len(found) > 1:
            lines += [f"### {number + 1} of {len(found)}: {_verdict(part.report)}", ""]
        lines += _part(part, [entry for entry in kept if entry.part == number], detail)
    return "\n".join(lines).rstrip("\n")


def _badness(report: Report) -> int:
    rank = _RANK[words.news(report).word]
    return min(rank, FAILED) if any(item.duet.status == "failed" for item in report.variants) else rank


def _verdict(report: Report) -> str:
    """Returns the first line: the headline, what it does not speak of, and first of all, unless slower, what failed."""
    headline = words.news(report)
    statuses = [item.duet.status for item in report.variants]
    failed = statuses.count("failed")
    others = [
        f"{plural(statuses.count(status), 'variant')} {word}"
        for status, word in (("failed", "failed"), ("new", "new"), ("gone", "gone"), ("unmeasured", "not measured"))
        if status in statuses and (status != "failed" or headline.word == "slower")
    ]
    text = "; ".join([cut(headline.text, LONGEST), *others])
    if failed and headline.word != "slower":
        text = f"FAILED: {plural(failed, 'variant')} of {len(statuses)}; {text}"
    return f"{'🔴' if failed else markdown.SIGNS[headline.word]} {escape(text)}"


def _part(part: Part, kept: Sequence[Entry], detail: int) -> list[str]:
    report = part.report
    lines = [f"{escape(cut(text, LONGEST))}  " for text in (_commits(report), _where(report), _seen(report))]
    lines.append("")
    by_section = {section: [entry.line for entry in kept if entry.section == section] for section in SECTIONS}
    for section in SECTIONS:
        rows = by_section[section]
        if not rows:
            continue
        table = [*markdown.head(), *rows] if section in TABLES else rows
        if section in _FOLDED:
            lines += [f"<details><summary>{TITLES[section]}: {len(rows)}</summary>", "", *table, "", "</details>", ""]
        else:
            lines += [*table, ""]
        if section == "slower" and detail > 2:
            lines += _causes(part)
    if part.causes and not by_section["slower"] and detail > 2:
        lines += ["<details><summary>Lines that changed</summary>", "", *_causes(part), "</details>", ""]
    return lines + (_how(part) if detail > 1 else [])


def _causes(part: Part) -> list[str]:
    lines = [line for diff in part.causes[:MOST_CAUSES] for line in cause(diff, part)]
    more = len(part.causes) - MOST_CAUSES
    return [*lines, *([f"{plural(more, 'more profile')} not shown.", ""] if more > 0 else [])]


def _commits(report: Report) -> str:
    return f"base {words.version(report.run.base)} against head {words.version(report.run.head)}"


def _where(report: Report) -> str:
    return f"{cells.machine(report.run.environment)}; {words.method(report)}"


def _seen(report: Report) -> str:
    """Returns the smallest change of a step that would have been found."""
    steps = [item.step.verdict.detectable for item in report.variants if item.step is not None]
    known = sorted(size for size in steps if size is not None)
    if not steps:
        return "nothing was measured on both sides"
    blind = f"; {len(steps) - len(known)} of {len(steps)} could have shown nothing" if len(known) < len(steps) else ""
    if not known:
        return f"no change of a step could have been seen: too few replicates of all {len(steps)}"
    worst = f", {_size(known[-1])} at worst" if len(known) > 1 else ""
    middle = _size(statistics.median_low(known))
    return f"a change of a step would have been seen from {middle} on{worst} (nine times in ten){blind}"


def _size(value: float) -> str:
    return words.percent(value).removeprefix("+")


def _how(part: Part) -> list[str]:
    report = part.report
    lines = ["<details><summary>How it was measured, and how to do it again</summary>", ""]
    lines += [f"{escape(cut(text, LONGEST))}  " for text in (*words.heading(report), *words.legend(report))]
    repeated = _again(report)
    lines += ["", *fenced([cut(repeated.command, 10 * LONGEST)]), ""]
    left_out = missing(repeated)
    lines += [escape(left_out), ""] if left_out else []
    notes = part.notes.notes
    lines += [f"{number}. {escape(cut(note, LONGEST))}" for number, note in enumerate(notes[:MOST_NOTES], 1)]
    if len(notes) > MOST_NOTES:
        lines.append(f"\n{plural(len(notes) - MOST_NOTES, 'more note')}")
    return [*lines, "", "</details>", ""]


def _again(report: Report) -> Again:
    """Returns the command that measures again what is slower, or else everything, as far as it can be named."""
    slower = [item for item in report.variants if any(row.verdict.word == "slower" for row in item.rows)]
    some = (slower or report.variants)[:MOST_NAMED]
    return again(replace(report, variants=tuple(some)))
