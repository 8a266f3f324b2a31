"""A page of source lines with figures beside them: what profiles and their differences have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jinja2


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A figure with the value that it is sorted by, and a bar of some percent behind it: of heat, or of relief."""

    text: str
    value: float
    percent: float
    kind: Literal["heat", "less"] = "heat"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of source; `place` is where it stands among the others."""

    mark: str
    number: str
    place: int
    cells: tuple[Cell, ...]
    code: str
    why: str
    style: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A function: the heads of its columns, from the line's number to the source, and its lines."""

    title: str
    subtitle: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]


def render(
    title: str, *, heading: Sequence[str], sentences: Sequence[str], sections: Sequence[Section], notes: Sequence[str]
) -> str:
    """Returns one self-contained page: nothing is fetched, and source and names of others are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.report"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    return environment.get_template("profile.html").render(
        title=title, heading=heading, sentences=sentences, sections=sections, notes=notes
    )
