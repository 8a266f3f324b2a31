"""What a model is at each level of deployment, as the cells of a table, notes, and plain data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lowbit.deploy.check import Cause
from lowbit.deploy.compile import Built
from lowbit.deploy.words import ABSENT, number

SCHEMA = 1
HEADINGS = ("level", "compile", "artifact", "size", "to eager", "LSB", "fresh process")


def cells(rows: Sequence[Built]) -> list[list[str]]:
    """Returns the cells of each level under HEADINGS."""
    return [
        [
            row.level,
            "none" if row.seconds is None else f"{number(row.seconds)} s",
            row.artifact or ABSENT,
            ABSENT if row.size is None else f"{number(row.size / 1e3)} kB",
            _difference(row.difference),
            ABSENT if row.lsb is None else f"{row.lsb:.2g}",
            f"failed: {row.fresh_failure}" if row.fresh_failure else _difference(row.fresh),
        ]
        for row in rows
    ]


def legend() -> str:
    """Returns what the columns mean."""
    return (
        "compile: until the first result. to eager: the largest absolute difference of outputs; LSB: of a quantized "
        "model, in steps of its output's grid, or of its range in 255 where it ends in float. fresh process: what a "
        "new process computes by the artifact, against this one."
    )


def notes(rows: Sequence[Built]) -> list[str]:
    """Returns what each level does, what there is to say of it, and why it is not to be had, each cause once."""
    made, told = [], dict[Cause, str]()
    for row in rows:
        lines = [row.summary, *row.notes]
        if row.cause is not None:
            what = "in no graph" if row.is_made else "not to be had"
            lines.append(f"{what}: {_said(row.cause, told)}")
            told.setdefault(row.cause, row.level)
        made.append(f"{row.level}  " + "; ".join(lines))
    return made


def text(model: str, rows: Sequence[Built]) -> str:
    """Returns the table and its notes without colours, for a file."""
    table = [list(HEADINGS), *cells(rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([f"{model}, torch {torch.__version__}", *lines, legend(), *notes(rows)])


def document(model: str, rows: Sequence[Built]) -> dict[str, Any]:
    """Returns the levels as plain data with a schema version; seconds and bytes. Infinite differences are null."""
    levels = []
    for row in rows:
        plain = dataclasses.asdict(row)
        finite = row.difference is not None and math.isfinite(row.difference)
        levels.append(plain | {"difference": row.difference if finite else None})
    return {"kind": "compile", "schema": SCHEMA, "model": model, "torch": str(torch.__version__), "levels": levels}


def _said(cause: Cause, told: Mapping[Cause, str]) -> str:
    if cause in told:
        return f"as {told[cause]}"
    place = f", at {cause.place}" if cause.place else ""
    return f"{cause.message}{place}. Remedy: {cause.remedy}"


def _difference(value: float | None) -> str:
    if value is None:
        return ABSENT
    return "equal" if value == 0 else f"{value:.2g}"
