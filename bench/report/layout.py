"""How the terminal table spreads rows over lines, so that nothing is left out at any width."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Self

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

# (details on one line, label beside the figures, blanks between columns) from roomy to narrow.
_ARRANGEMENTS = ((True, True, 2), (False, True, 2), (False, False, 2), (False, False, 1))
# Narrower than this, text is left to be folded by the terminal.
_NARROWEST = 40
# A message beside a long label gets at least this much room, and a character that is two cells wide always fits.
_MESSAGE = 20
# Only measures and folds; nothing is ever printed to it.
_FOLDER = Console(width=_NARROWEST, color_system=None, force_terminal=False, force_jupyter=False)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A figure or a name, and what stands dim below it."""

    head: str
    details: tuple[str, ...] = ()
    style: str = ""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """An arrangement with the widths that its contents need.

    `joined` puts the details of a cell on one line, otherwise one stands below the other; `beside` puts a row's label
    left of its figures, otherwise above them. Widths are in terminal cells.
    """

    joined: bool
    beside: bool
    gap: int
    label: int
    columns: tuple[int, ...]
    space: int

    @classmethod
    def fit(cls, labels: Sequence[Cell], rows: Sequence[Sequence[Cell]], width: int) -> Self:
        """Returns the first arrangement that is no wider than `width`, or else the narrowest one."""
        for joined, beside, gap in _ARRANGEMENTS:
            columns = tuple(max(_width(cell, joined=joined) for cell in column) for column in zip(*rows, strict=True))
            grid = cls(
                joined=joined,
                beside=beside,
                gap=gap,
                label=max(_width(cell, joined=joined) for cell in labels) if beside else 0,
                columns=columns,
                space=max(width, _NARROWEST),
            )
            if grid.total <= width:
                break
        return grid

    @property
    def total(self) -> int:
        """Width of the table."""
        return self.label + sum(self.columns) + self.gap * len(self.columns)

    def row(self, label: Cell, cells: Sequence[Cell], below: str = "") -> list[Text]:
        """Returns the lines of one row; `below` stands folded under its figures."""
        right = self._figures(cells)
        if below:
            right += fold(below, self.space - self.label - self.gap, "dim")
        return self._compose(label, right)

    def message(self, label: Cell, text: str, style: str) -> list[Text]:
        """Returns the lines of a row that has a message in place of figures."""
        return self._compose(label, fold(text, self.space - self.label - self.gap, style))

    def _compose(self, label: Cell, right: Sequence[Text]) -> list[Text]:
        left = _lines(label, joined=self.joined)
        if not self.beside:
            names = [Text(line.plain.strip(), style=line.style) for line in left if line.plain.strip()]
            above = [Text("  ") + Text(" ").join(names)] if names else []
            return [*above, *(Text(" " * self.gap) + line for line in right)]
        pairs = zip_longest(left, right, fillvalue=Text())
        return [_padded(name, self.label, left=False) + " " * self.gap + figures for name, figures in pairs]

    def _figures(self, cells: Sequence[Cell]) -> list[Text]:
        by_line = zip_longest(*(_lines(cell, joined=self.joined) for cell in cells), fillvalue=Text())
        between = Text(" " * self.gap)
        return [
            between.join(_padded(text, width, left=True) for text, width in zip(line, self.columns, strict=True))
            for line in by_line
        ]


def fold(text: str, width: int, style: str, mark: str = "") -> list[Text]:
    """Returns a text folded between words, its further lines as far to the right as its mark is wide."""
    folded = Text(text, style=style).wrap(_FOLDER, max(width - len(mark), _MESSAGE))
    return [Text((mark if index == 0 else " " * len(mark)), style=style) + line for index, line in enumerate(folded)]


def _lines(cell: Cell, *, joined: bool) -> list[Text]:
    details: Iterable[str] = [" ".join(cell.details)] if joined and cell.details else cell.details
    return [Text(cell.head, style=cell.style), *(Text(detail, style="dim") for detail in details)]


def _width(cell: Cell, *, joined: bool) -> int:
    return max(cell_len(line.plain) for line in _lines(cell, joined=joined))


def _padded(text: Text, width: int, *, left: bool) -> Text:
    blanks = " " * (width - cell_len(text.plain))
    return Text(blanks) + text if left else text + blanks


def to_string(lines: Sequence[RenderableType], *, color: bool, width: int | None = None, fold: bool = False) -> str:
    """Returns what rich draws of some lines; text is folded at `width` only if asked for."""
    stream = io.StringIO()
    # The settings of the terminal that this process happens to run in have no say in a string.
    console = Console(
        file=stream, force_terminal=color, no_color=not color, color_system="standard" if color else None,
        highlight=False, emoji=False, legacy_windows=False, force_jupyter=False, width=width, _environ={},
    )  # fmt: skip
    for line in lines:
        if isinstance(line, Text) and not fold:
            line.rstrip()
            console.print(line, no_wrap=True, overflow="ignore", crop=False)
        else:
            console.print(line)
    return stream.getvalue().rstrip("\n")
