"""The one-line format of the published measurements, a line a variant, times in milliseconds."""

from __future__ import annotations

import re

from bench.analyze.row import Row, Table
from bench.data.metric import PHASES, STEP

_NEEDED = frozenset((*PHASES, STEP))


def render(table: Table) -> str:
    """Returns a line for each row that has the three phases and the step.

    The form knows of no failure and of no other axis than the batch: rows that failed and rows of inference have no
    line, and variants that differ in another axis are told apart by their order only.
    """
    return "\n".join(line(row) for row in table.rows if fits(row))


def fits(row: Row) -> bool:
    """Says whether a row has a line."""
    return row.failure is None and row.summaries.keys() >= _NEEDED


def line(row: Row) -> str:
    """Returns one variant's line."""
    times = ", ".join(f"{name.capitalize()}: {1e3 * row.summaries[name].center:.4f}ms" for name in (*PHASES, STEP))
    variant = row.variant
    return (
        f"Model: {published_model(variant.model)} Optimizer: {published_optimizer(variant.optimizer)} "
        f"Batch Size: {variant.batch}, {times}"
    )


def published_model(name: str) -> str:
    """Returns a model's name as published: residual networks are abbreviated, as in res20."""
    return re.sub(r"\Aresnet(?=\d)", "res", name)


def published_optimizer(name: str) -> str:
    """Returns an optimizer's name as published: no hyphen before a digit, an underscore for the others."""
    return re.sub(r"-(?=\d)", "", name).replace("-", "_")
