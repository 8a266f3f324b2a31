"""A history for a page of text on GitHub: the changes open, the series folded."""

from __future__ import annotations

from bench.analyze.series import Group, History
from bench.report.history import words
from bench.report.markdown import cell, escape, in_html
from bench.report.profile.markdown import fenced

MARKS = {"worse": "🔴", "better": "🟢", "": "⚪"}


def render(history: History) -> str:
    """Returns GitHub's markdown; nothing in it is active: names of others show as they are."""
    lines = [f"**{escape(words.title(history))}**", ""]
    for command, changes in words.by_command(history).items():
        lines += [f"* {MARKS[words.kind(*one)]} {escape(words.sentence(*one))}" for one in changes]
        lines += ["", "  confirm:", "", *(f"  {line}" for line in fenced([command])), ""] if command else []
    for group in history.groups:
        lines += ["", f"<details><summary>{in_html(words.heading(group)[0])}</summary>", "", *_table(group), ""]
        lines += ["</details>"]
    lines += ["", *(f"{escape(note)}  " for note in words.notes(history))]
    return "\n".join(lines)


def _table(group: Group) -> list[str]:
    lines = [f"{escape(line)}  " for line in words.heading(group)]
    lines += ["", "| variant | metric | commits | now | since first | noise | |", "|---|---|---:|---:|---:|---:|---|"]
    for series in filter(words.shown, group.series):
        cells = (
            words.name(series),
            series.metric,
            str(len(series.points)),
            *words.figures(series),
            words.spark(series),
        )
        lines.append(f"| {' | '.join(map(cell, cells))} |")
    return lines
