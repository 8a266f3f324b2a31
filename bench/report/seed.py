"""The one-line format of the published measurements, a line a variant, times in milliseconds."""

from __future__ import annotations

import re

from bench.analyze.row import Row, Table
from bench.data.metric import PHASES, STEP


def render(table: Table) -> str:
    """Returns the rows that have all three phases and the step; a row that failed has no line."""
    return "\n".join(line(row) for row in table.rows if all(name in row.summaries for name in (*PHASES, STEP)))


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
