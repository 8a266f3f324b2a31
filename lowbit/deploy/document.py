"""The performance of models as a document for programs: SI units, a schema, and no figure that words would round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lowbit.deploy.performance import Performance, Row
from lowbit.deploy.roofline import Bound
from lowbit.deploy.words import notes
from lowbit.pipeline.statistics import Interval

# 1: layers with cost, time, bound and prediction; a summary by run and by frame.
SCHEMA = 1


def document(found: Sequence[Performance], versions: Mapping[str, str]) -> dict[str, Any]:
    """Returns what was found of some models: seconds, bytes, operations (two a multiply-accumulate)."""
    return {
        "kind": "performance",
        "schema": SCHEMA,
        "versions": dict(versions),
        "runs": [_run(each) for each in found],
    }


def _run(found: Performance) -> dict[str, Any]:
    on = found.target
    return {
        "variant": found.name,
        "summary": {
            "frames": found.frames,
            "latency": _interval(found.whole),
            "fps": found.fps,
            "runs_per_second": found.runs_per_second,
            "operations": found.operations,
            "operations_per_frame": found.operations / found.frames,
            "loaded_bytes": found.loaded,
            "stored_bytes": found.stored,
            "bytes": found.loaded + found.stored,
            "bytes_per_frame": (found.loaded + found.stored) / found.frames,
            "bytes_per_second": found.bytes_per_second,
            "weight_bytes": found.weights,
            "peak_bytes": found.peak,
            "cpu": found.cpu,
            "runs": found.runs,
            "layers_added": found.added,
            "layers_added_cpu": found.added_cpu,
            "with_marks": found.marked,
            "glue": _interval(found.glue),
            "uncounted": found.uncounted,
        },
        "machine": {"peak": dict(found.machine.peak), "bandwidth": found.machine.bandwidth},
        "target": None
        if on is None or found.predicted is None
        else {
            "name": on.name,
            "peak": on.peak,
            "bandwidth": on.bandwidth,
            "on_chip_bytes": on.on_chip_bytes,
            "latency": found.predicted,
            "fps": found.frames / found.predicted if found.predicted else None,
        },
        "layers": [_layer(row) for row in found.rows],
        "notes": notes(found),
    }


def _layer(row: Row) -> dict[str, Any]:
    cost = row.cost
    return {
        "name": cost.name,
        "kind": cost.kind,
        "is_between": cost.is_between,
        "shape": list(cost.shape),
        "operations": cost.operations,
        "weight_bytes": dict(cost.weights),
        "input_bytes": dict(cost.inputs),
        "output_bytes": dict(cost.outputs),
        "intensity": cost.intensity,
        "arithmetic": cost.arithmetic,
        "calls": dict(cost.calls),
        "uncounted": dict(cost.uncounted),
        "time": _interval(row.time),
        "share": row.share,
        "bound": _bound(row.bound),
        "reached": row.reached,
        "predicted": _bound(row.predicted),
    }


def _interval(found: Interval | None) -> dict[str, float | None] | None:
    return None if found is None else {"center": found.center, "low": found.low, "high": found.high}


def _bound(found: Bound | None) -> dict[str, float | str] | None:
    return None if found is None else {"seconds": found.seconds, "by": found.by}
