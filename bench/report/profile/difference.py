"""The difference of two profiles for programs, for pull requests and as a page."""

from __future__ import annotations

import msgspec

from bench.analyze.line_diff import FunctionDiff, LineDiff, ProfileDiff
from bench.analyze.lines import steps
from bench.report import units
from bench.report.markdown import escape
from bench.report.profile import diff_words, page, words
from bench.report.profile.markdown import fenced
from bench.report.profile.text import MARKS, difference_table, shown

# History (raise the number when a field changes its name or meaning):
#   1  first schema
SCHEMA = 1


def document(found: ProfileDiff) -> str:
    """Returns `{"schema", "kind": "profile-diff", ...}` as indented JSON with both profiles; times in seconds."""
    content = {
        "schema": SCHEMA,
        "kind": "profile-diff",
        "base": words.name(found.base),
        "head": words.name(found.head),
        "paired": found.paired,
        "summary": diff_words.summary(found),
        "step": found.step,
        "functions": [
            {"name": diff_words.title(one), "seconds": one.seconds, "lines": [_line(line) for line in one.lines]}
            for one in found.functions
        ],
        "profiles": [found.base, found.head],
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def _line(line: LineDiff) -> dict[str, object]:
    return {
        "kind": line.kind,
        "base": line.base.number if line.base else None,
        "head": line.head.number if line.head else None,
        "text": line.text,
        "base_seconds": line.base_seconds,
        "head_seconds": line.head_seconds,
        "change": line.change,
        "differs": line.differs,
        "share": line.share,
    }


def markdown(found: ProfileDiff) -> str:
    """Returns GitHub's markdown: the sentences open, the tables folded."""
    lines = [
        f"* {escape(sentence)}" if sentence.startswith(" ") else f"\n**{escape(sentence)}**\n"
        for sentence in diff_words.summary(found)
    ]
    lines += [
        "",
        f"{escape(words.name(found.base))} → {escape(words.name(found.head))}; {escape(diff_words.step(found))}",
    ]
    for one in found.functions:
        if shown(one):
            table = difference_table(one, (steps(found.base), steps(found.head)))
            summary = f"<details><summary>{escape(diff_words.title(one))}: every line</summary>"
            lines += ["", summary, "", *fenced(table), "", "</details>"]
    below = [*diff_words.environments(found), *diff_words.limits(found)]
    return "\n".join([*lines, "", *(f"{escape(line)}  " for line in below)])


def html(found: ProfileDiff) -> str:
    """Returns the page: every function in which a line differs, both sides and the change beside each line."""
    names = (words.name(found.base), words.name(found.head))
    return page.render(
        f"{names[0]} → {names[1]}",
        heading=[*diff_words.environments(found), diff_words.step(found)],
        sentences=diff_words.summary(found),
        sections=[_section(one, names) for one in found.functions if shown(one)],
        notes=[
            "+ is new, - is gone, > has moved; ~ is within the noise, or too small to matter",
            *diff_words.limits(found),
        ],
    )


def _section(one: FunctionDiff, names: tuple[str, str]) -> page.Section:
    most = max(abs(line.change.seconds) for line in one.lines)
    dearest = max(max(line.base_seconds, line.head_seconds) for line in one.lines)
    return page.Section(
        title=diff_words.title(one),
        subtitle="times are a step's, without the profiler's own cost",
        heads=("line", *names, "change", "source", "why"),
        rows=tuple(_row(place, line, dearest, most) for place, line in enumerate(one.lines)),
    )


def _row(place: int, line: LineDiff, dearest: float, most: float) -> page.Row:
    numbers = dict.fromkeys(str(side.number) for side in (line.base, line.head) if side is not None)
    cells = [
        page.Cell(
            text=units.seconds(seconds) if side is not None and side.hits else "",
            value=seconds,
            percent=round(100 * seconds / dearest, 1) if dearest else 0.0,
        )
        for side, seconds in ((line.base, line.base_seconds), (line.head, line.head_seconds))
    ]
    change = line.change.seconds
    cells.append(
        page.Cell(
            text=diff_words.signed(change) if line.differs else "~",
            value=change,
            percent=round(100 * abs(change) / most, 1) if line.differs else 0.0,
            kind="heat" if change > 0 else "less",
        )
    )
    return page.Row(
        mark=MARKS[line.kind],
        number="→".join(numbers),
        place=place,
        cells=tuple(cells),
        code=line.text,
        why=diff_words.change(line.change) if line.differs else "",
        style="differs" if line.differs else "",
    )
