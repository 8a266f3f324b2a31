"""The report as a document for programs: SI units, intervals, counters and caveats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from bench.analyze.row import Ratio, Row, Table

# History (raise the number when a field changes its name or meaning):
#   1  first schema
SCHEMA = 1


def render(tables: Sequence[Table]) -> str:
    """Returns `{"schema", "kind": "report", "tables": [...]}` as indented JSON; times in seconds, sizes in bytes.

    Numbers are derived from the stored records, which keep every sample; this is no input of any command.
    """
    content = {"schema": SCHEMA, "kind": "report", "tables": [_table(table) for table in tables]}
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def _table(table: Table) -> dict[str, Any]:
    return {
        "environment": table.environment,
        "protocol": table.protocol,
        "commits": table.commits,
        "created": table.created,
        "baseline": table.baseline,
        "rows": [_row(row) for row in table.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "variant": str(row.variant),
        "axes": row.variant,
        "phases": row.phases,
        "metrics": row.summaries,
        "ratio": _ratio(row.ratio),
        "fastest_float": _ratio(row.fastest_float),
        "plain_float": _ratio(row.plain_float),
        "counters": row.counters.values,
        "state_bytes": row.counters.state_bytes,
        "caveats": row.caveats,
        "failure": row.failure,
        "origin": row.origin,
        "accuracies": row.accuracies,
    }


def _ratio(ratio: Ratio | None) -> dict[str, Any] | None:
    return None if ratio is None else {**msgspec.to_builtins(ratio), "baseline": str(ratio.baseline)}
