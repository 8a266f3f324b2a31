"""A history as a document for programs: series, levels and changes."""

from __future__ import annotations

from typing import Any

import msgspec

from bench.analyze.series import Change, Group, History, Series
from bench.data.metric import METRICS
from bench.report.history import words

# History (raise the number when a field changes its name or meaning):
#   1  first schema
#   2  `worse` is null where nobody knows which direction is better; `unit` and `baseline` of a series
SCHEMA = 2


def render(history: History) -> str:
    """Returns `{"schema", "kind": "history", "groups": [...]}` as indented JSON; values in the unit of their series.

    With a `baseline` values are multiples of that optimizer's row, and the unit is 1; else times are in seconds and
    sizes in bytes.
    """
    content = {
        "schema": SCHEMA,
        "kind": "history",
        "ordered": history.ordered,
        "left_out": history.left_out,
        "groups": [_group(group) for group in history.groups],
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def _group(group: Group) -> dict[str, Any]:
    return {"environment": group.environment, "tool": group.tool, "series": [_series(one) for one in group.series]}


def _series(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "variant": str(series.variant),
        "metric": series.metric,
        "unit": "1" if series.baseline is not None else METRICS[series.metric].unit,
        "baseline": series.baseline,
        "origin": series.origin,
        "points": series.points,
        "levels": series.levels,
        "changes": [_change(series, change) for change in series.changes],
    }


def _change(series: Series, change: Change) -> dict[str, Any]:
    own = {"worse": words.worse(series, change), "confirm": words.confirm(series, change)}
    return {**msgspec.to_builtins(change), **own}
