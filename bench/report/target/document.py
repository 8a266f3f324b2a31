"""Time to target as a document for programs: every look at the held-out part, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from bench.analyze.target import TargetRow, TargetTable
from bench.data.target import TARGET_SCHEMA


def render(tables: Sequence[TargetTable]) -> str:
    """Returns `{"schema", "kind": "targets", "tables": [...]}` as indented JSON; times in seconds."""
    content = {"schema": TARGET_SCHEMA, "kind": "targets", "tables": [_table(table) for table in tables]}
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def _table(table: TargetTable) -> dict[str, Any]:
    return {
        "run": table.run,
        "created": table.created,
        "environment": table.environment,
        "protocol": table.protocol,
        "baseline": None if table.baseline is None else str(table.baseline),
        "rows": [_row(row) for row in table.rows],
    }


def _row(row: TargetRow) -> dict[str, Any]:
    return {**msgspec.to_builtins(row), "variant": str(row.variant), "axes": row.variant, "reached": row.reached}
