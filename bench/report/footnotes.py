"""Caveats as numbered footnotes: each is printed once, however many rows it belongs to."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.data.measurement import Caveat
from bench.report.plain import one_line

# A number that stands by itself; `8` in `eva-8bit` and `20` in `resnet20` are parts of names.
_NUMBER = re.compile(r"(?<![\w.-])([+-]?[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)(?![\w-]|\.[0-9])")


@dataclass(frozen=True, kw_only=True)
class Footnotes:
    """The notes below a table, first note first, and for each row the numbers of its notes, counted from 1."""

    notes: tuple[str, ...]
    marks: tuple[tuple[int, ...], ...]


class Noted(Protocol):
    """Anything with caveats."""

    @property
    def caveats(self) -> tuple[Caveat, ...]:
        """Its caveats, in order."""
        ...


def footnotes(rows: Sequence[Noted]) -> Footnotes:
    """Returns the notes of rows in the order they are met.

    Caveats that differ in nothing but their figures are one note, which shows the range of each figure: what is said
    of twelve rows is read once.
    """
    numbers: dict[tuple[str, ...], int] = {}
    met: dict[int, list[Caveat]] = {}
    marks = []
    for row in rows:
        own = [(numbers.setdefault(_kind(caveat), len(numbers) + 1), caveat) for caveat in row.caveats]
        for number, caveat in own:
            met.setdefault(number, []).append(caveat)
        marks.append(tuple(sorted({number for number, _ in own})))
    return Footnotes(notes=tuple(_merged(caveats) for caveats in met.values()), marks=tuple(marks))


def _kind(caveat: Caveat) -> tuple[str, ...]:
    # Splitting at one group alternates what is between the figures with the figures.
    return caveat.code, *_NUMBER.split(caveat.message)[::2]


def _merged(caveats: Sequence[Caveat]) -> str:
    texts = dict.fromkeys(caveat.message for caveat in caveats)
    pieces = zip(*(_NUMBER.split(text) for text in texts), strict=True)
    merged = [_span(piece) if index % 2 else piece[0] for index, piece in enumerate(pieces)]
    return one_line("".join(merged))


def _span(figures: Sequence[str]) -> str:
    least, most = min(figures, key=float), max(figures, key=float)
    return least if float(least) == float(most) else f"{least} to {most}"
