"""The table for a pull request: every figure of a variant in one row, caveats as footnotes."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

from bench.analyze.row import Row, Table
from bench.data.metric import COMMUNICATE, STEP
from bench.report import cells
from bench.report.footnotes import footnotes
from bench.report.plain import one_line

# What starts markup, HTML, mathematics, a strikethrough or the next cell.
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&$])")
# What GitHub links, or makes a picture of, after markup is done, escaped or not: mentions, issues, `GH-1`, addresses,
# whole commits, and names of pictures between colons, of which those of digits alone are few, and times of day none.
_LINKED = re.compile(
    r"(?i)(@(?=\w|\Z)|#(?=\d|\Z)|\bGH(?=-\d)|\bwww(?=\.)|:(?=//)"
    r"|(?<![0-9a-z])[0-9a-f]{6}(?=[0-9a-f]{34})|:(?=(?:100|1234|[+-]1|[0-9]?[a-z][\w+-]*):))"
)
# What starts a list or underlines a heading, at the start of a line only.
_BLOCK = re.compile(r"[-+=]|\d+[.)]")
# A break without width, written so that it can be seen in the source.
_BREAK = "&#8203;"


def render(table: Table) -> str:
    """Returns one table in GitHub's markdown, hardware and versions above it.

    Nothing in it is active: names and messages of others show as they are, and notify and link nobody. Notes are
    numbered by hand, since GitHub's own footnotes would clash where two tables stand in one comment.
    """
    notes = footnotes(table.rows)
    heads = _heads(table)
    lines = [*_lines(cells.heading(table)), "", _joined(heads), _joined(["---", *["---:"] * (len(heads) - 1)])]
    lines += [_joined(_cells(row, table, marks)) for row, marks in zip(table.rows, notes.marks, strict=True)]
    lines += ["", *_lines(cells.legend(table))]
    if notes.notes:
        lines += ["", *(f"{number}. {escape(note)}" for number, note in enumerate(notes.notes, 1))]
    return "\n".join(lines)


def escape(text: str) -> str:
    """Returns text that GitHub shows as it is: no markup, no HTML, no mention, no link, one line."""
    flat = one_line(text)
    # Splitting at one group puts every sign that starts a link at an odd place.
    pieces = (_MARKUP.sub(r"\\\1", piece) + _BREAK * (index % 2) for index, piece in enumerate(_LINKED.split(flat)))
    return _BREAK * bool(_BLOCK.match(flat)) + "".join(pieces)


def cell(text: str) -> str:
    """Returns text for a cell of a table, where nothing can start a list."""
    return escape(text).removeprefix(_BREAK)


def in_html(text: str) -> str:
    """Returns text for inside of an HTML tag, such as a summary, where GitHub reads no markup, but makes links."""
    pieces = (html.escape(piece) + _BREAK * (index % 2) for index, piece in enumerate(_LINKED.split(one_line(text))))
    return "".join(pieces)


def _lines(texts: Sequence[str]) -> list[str]:
    # Two blanks at its end keep a line from running on into the next.
    return [f"{escape(text)}  " for text in texts]


def _heads(table: Table) -> list[str]:
    phases = cells.shown_phases(table)
    initials = "/".join(phase[0].upper() for phase in phases if phase != COMMUNICATE)
    phased = (f"{counter} {initials}" for counter in cells.COUNTED)
    return [
        "variant", *phases, STEP, *map(escape, cells.ratio_names(table)), *phased, *map(_short, cells.EXACT),
        *(["quantized"] * _any_quantized(table)), *(["accuracy"] * _any_accuracy(table)),
    ]  # fmt: skip


def _short(metric: str) -> str:
    return metric.removesuffix("_bytes")


def _joined(values: Sequence[str]) -> str:
    return f"| {' | '.join(values)} |"


def _cells(row: Row, table: Table, marks: Sequence[int]) -> list[str]:
    # The characters of a variant id are checked where it is made: inside backticks none of them is active.
    name = f"`{row.variant}`" + (f" <sup>{', '.join(map(str, marks))}</sup>" if marks else "")
    if row.failure is not None:
        blank = len(_heads(table)) - 1
        return [f"{name}<br>{escape(cells.failure(row))}", *[""] * blank]
    return [
        "<br>".join([name, *map(escape, cells.foreign(row))]),
        *("<br>".join(filter(None, (_time(row, phase), *_sent(row, phase)))) for phase in cells.shown_phases(table)),
        _time(row, STEP, strong="**"),
        *("<br>".join(filter(None, parts)) for parts in cells.ratios(row, table)),
        *(_by_phase(row, counter) for counter in cells.COUNTED),
        *(_exact(row, metric) for metric in cells.EXACT),
        *(["<br>".join(cells.quantized(row))] * _any_quantized(table)),
        *(["<br>".join(map(escape, cells.accuracies(row, table)))] * _any_accuracy(table)),
    ]


def _any_quantized(table: Table) -> bool:
    return any(map(cells.quantized, table.rows))


def _any_accuracy(table: Table) -> bool:
    return any(row.accuracies for row in table.rows)


def _time(row: Row, metric: str, strong: str = "") -> str:
    time, spread = cells.time(row, metric), cells.spread(row, metric)
    return f"{strong}{time}{strong}<br>{spread}" if spread else time


def _sent(row: Row, phase: str) -> list[str]:
    if phase != COMMUNICATE:
        return []
    return [f"{name} {value}" for name in cells.below(phase) if (value := cells.counted(row, phase, name))]


def _by_phase(row: Row, counter: str) -> str:
    values = [cells.counted(row, phase, counter) or cells.ABSENT for phase in row.phases if phase != COMMUNICATE]
    return "" if set(values) <= {cells.ABSENT} else " / ".join(values)


def _exact(row: Row, metric: str) -> str:
    parts = cells.state_parts(row) if metric == "state_bytes" else []
    return "<br>".join((cells.exact(row, metric), *map(escape, parts)))
