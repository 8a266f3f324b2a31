"""A comparison for a pull request: the verdict first, what changed open, the rest folded."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analyze.comparison import ComparedVariant, Judged, Report
from bench.analyze.verdict import Word
from bench.report.comparison import words
from bench.report.footnotes import footnotes
from bench.report.markdown import escape
from bench.report.plain import one_line
from bench.report.profile.markdown import fenced

SIGNS: dict[Word, str] = {"slower": "🔴", "faster": "🟢", "equivalent": "⚪", "inconclusive": "🟡"}


def render(report: Report) -> str:
    """Returns GitHub's markdown; nothing in it is active: names and messages of others show as they are."""
    line = words.headline(report)
    items = words.ordered(report)
    marks = footnotes(items)
    marked = dict(zip((id(item) for item in items), marks.marks, strict=True))
    changed = [item for item in items if _changed(item)]
    rest = [item for item in items if not _changed(item)]
    lines = [f"**{SIGNS[line.word]} {escape(line.text)}**", ""]
    if changed:
        lines += [*_table(changed, marked), ""]
    if rest:
        summary = f"{len(rest)} of {len(items)} variants without a change"
        lines += [f"<details><summary>{summary}</summary>", "", *_table(rest, marked), "", "</details>", ""]
    lines += ["<details><summary>How it was measured</summary>", ""]
    lines += [f"{escape(text)}  " for text in (*words.heading(report), *words.legend(report))]
    lines += ["", *fenced([one_line(words.reproduce(report))]), "", "</details>"]
    if marks.notes:
        lines += ["", *(f"{number}. {escape(note)}" for number, note in enumerate(marks.notes, 1))]
    return "\n".join(lines)


def _changed(item: ComparedVariant) -> bool:
    words_ = {judged.verdict.word for judged in item.rows}
    return bool(words_ & {"slower", "faster"}) or bool(item.facts) or item.duet.status != "compared"


def _table(items: Sequence[ComparedVariant], marked: dict[int, tuple[int, ...]]) -> list[str]:
    return [*head(), *(row(item, marked[id(item)]) for item in items)]


def head() -> list[str]:
    """Returns the two lines that a table of variants begins with."""
    heads = ["variant", *words.COLUMNS, "n"]
    return [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]


def row(item: ComparedVariant, numbers: Sequence[int], details: Sequence[str] | None = None) -> str:
    """Returns the line of one variant, with the numbers of its notes; below its name stand details, all by default."""
    name = f"`{item.duet.variant}`" + (f" <sup>{', '.join(map(str, numbers))}</sup>" if numbers else "")
    if details is None:
        details = [*words.facts(item), *words.notes(item), *filter(None, [words.status(item)])]
    cells = [
        "<br>".join([name, *map(escape, details)]),
        *(_cell(words.row(item, metric)) for metric in words.COLUMNS),
        words.replicates(item),
    ]
    return f"| {' | '.join(cells)} |"


def _cell(judged: Judged | None) -> str:
    if judged is None:
        return ""
    verdict = judged.verdict
    said = f"{SIGNS[verdict.word]} {verdict.word} {words.change(verdict)}"
    return f"{said}<br>{words.interval(verdict)}<br>{words.sees(verdict)}"
