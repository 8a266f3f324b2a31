"""Operations and syncs of steps of Eva's forms, of SGD and of the published algorithm, as stored. A markdown table.

Records are given as files or folders. What C++ does is no operation of torch, and counts nothing here.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.data.measurement import Measurement
from bench.store.jsonl import scan

STORE = Path(__file__).parents[2] / "results/eva"
COUNTED = ("forward.operations", "backward.operations", "optimize.operations", "optimize.syncs")


def newest(paths: list[Path]) -> dict[tuple[str, int], dict[str, Measurement]]:
    """Returns measurements by problem and optimizer."""
    records, _ = scan(paths)
    found: dict[tuple[str, int], dict[str, Measurement]] = {}
    for record in sorted(records, key=lambda record: record.created):
        variant = record.measurement.variant
        if not record.measurement.failure:
            found.setdefault((variant.model, variant.batch), {})[variant.optimizer] = record.measurement
    return found


def counts(measured: dict[tuple[str, int], dict[str, Measurement]]) -> str:
    lines = ["| model, batch | optimizer | " + " | ".join(COUNTED) + " | state bytes |", "|---|---|" + "---:|" * 5]
    for (model, batch), of in sorted(measured.items()):
        for optimizer, measurement in of.items():
            values, state = measurement.counters.values, sum(measurement.counters.state_bytes.values())
            shown = [f"{values.get(name) or 0:,.0f}" for name in COUNTED]
            lines.append(f"| {model}, {batch} | {optimizer} | " + " | ".join([*shown, f"{state:,}"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(counts(newest([Path(argument) for argument in sys.argv[1:]] or [STORE])))
