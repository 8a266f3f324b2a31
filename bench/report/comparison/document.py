"""A comparison as a document for programs: verdicts, intervals, and the raw samples they rest on."""

from __future__ import annotations

from typing import Any

import msgspec

from bench.analyze.comparison import ComparedVariant, Report
from bench.store.comparisons import COMPARISON_SCHEMA, KIND


def render(report: Report) -> str:
    """Returns `{"schema", "kind": "comparison", ...}` as indented JSON; times in seconds, sizes in bytes."""
    content = {
        "schema": COMPARISON_SCHEMA,
        "kind": KIND,
        "run": report.run,
        "rule": report.rule,
        "variants": [_variant(item) for item in report.variants],
    }
    return msgspec.json.format(msgspec.json.encode(content), indent=2).decode()


def _variant(item: ComparedVariant) -> dict[str, Any]:
    return {
        "variant": str(item.duet.variant),
        "status": item.duet.status,
        "failure": item.duet.failure,
        "isolation": item.duet.isolation,
        "because": item.duet.because,
        "seconds": item.duet.seconds,
        "rows": item.rows,
        "facts": item.facts,
        "order": item.order,
        "caveats": item.caveats,
        "counters": item.duet.counters,
        "sources": item.duet.sources,
        "replicates": item.duet.replicates,
    }
