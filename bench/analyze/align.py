"""Which line of one version of a function is which of another one: by content, wherever it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

Kind = Literal["same", "moved", "added", "removed"]


@dataclass(frozen=True)
class Aligned:
    """A pair of indices of lines; None on the side that has no such line."""

    kind: Kind
    base: int | None
    head: int | None


def align(base: Sequence[str], head: Sequence[str], *, moves: bool = True) -> list[Aligned]:
    """Returns all lines of both sides in head's order, removed ones where they stood; indentation does not count.

    Lines in the longest common sequence are `same`; of the others, those of equal content are `moved`, unless nothing
    is to move: then they are removed in one place and added in another.
    """
    texts = tuple([line.strip() for line in side] for side in (base, head))
    removed: list[int] = []
    added: list[int] = []
    rows: list[Aligned] = []
    for _, low, high, first, last in SequenceMatcher(None, texts[0], texts[1], autojunk=False).get_opcodes():
        if texts[0][low:high] == texts[1][first:last]:
            rows += [Aligned("same", low + index, first + index) for index in range(high - low)]
            continue
        removed += range(low, high)
        added += range(first, last)
        rows += [Aligned("removed", index, None) for index in range(low, high)]
        rows += [Aligned("added", None, index) for index in range(first, last)]
    sources = {}
    for index in added if moves else ():
        text = texts[1][index]
        source = next((other for other in removed if texts[0][other] == text), None)
        if text and source is not None:
            sources[index] = source
            removed.remove(source)
    gone = set(sources.values())
    return [
        Aligned("moved", sources[row.head], row.head) if row.head in sources and row.base is None else row
        for row in rows
        if not (row.kind == "removed" and row.base in gone)
    ]


def merged(sides: Sequence[Sequence[str]]) -> list[list[int | None]]:
    """Returns rows with an index for each side that hold the lines of all sides in order; None where one has none."""
    rows: list[list[int | None]] = [[index] for index in range(len(sides[0]))]
    texts = list(sides[0])
    for number, side in enumerate(sides[1:], 1):
        pairs = align(texts, side, moves=False)
        before = [rows[pair.base] if pair.base is not None else [None] * number for pair in pairs]
        texts = [side[pair.head] if pair.head is not None else texts[pair.base or 0] for pair in pairs]
        rows = [[*row, pair.head] for row, pair in zip(before, pairs, strict=True)]
    return rows
