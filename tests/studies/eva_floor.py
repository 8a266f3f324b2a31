"""How near Eva's step is to that of SGD, its 8-bit forms to Eva, and all to the published algorithm, as stored.

Records are given as files or folders; ratios are paired by worker and round, so that both sides of one saw the same
minute of the same machine. Written as a markdown table.
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.analyze.ratio import ratio
from bench.data.measurement import Measurement
from bench.store.jsonl import scan

STORE = Path(__file__).parents[2] / "results/eva"
# (heading, optimizer, what it is compared with, metric)
COLUMNS = (
    ("eva / sgd", "eva", "sgd", "step"),
    ("eva-8bit / eva", "eva-8bit", "eva", "step"),
    ("eva-8bit-cpu / eva", "eva-8bit-cpu", "eva", "step"),
    ("reference / eva, optimize", "eva-reference", "eva", "optimize"),
    ("eva-eager / sgd", "eva-eager", "sgd", "step"),
    ("eva-8bit-eager / eva-eager", "eva-8bit-eager", "eva-eager", "step"),
    ("reference / eva-eager, optimize", "eva-reference", "eva-eager", "optimize"),
)
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


def cell(of: dict[str, Measurement], optimizer: str, baseline: str, metric: str) -> str:
    """Renders one ratio with its interval."""
    if optimizer not in of or baseline not in of:
        return "—"
    found = ratio(of[optimizer], of[baseline], metric)
    if found is None:
        return "—"
    spread = "" if found.low is None else f" ({found.low:.2f} to {found.high:.2f})"
    return f"{found.center:.2f}{spread}"


def times(measured: dict[tuple[str, int], dict[str, Measurement]]) -> str:
    lines = ["| model, batch | " + " | ".join(name for name, *_ in COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for (model, batch), of in sorted(measured.items()):
        lines.append(f"| {model}, {batch} | " + " | ".join(cell(of, *where) for _, *where in COLUMNS) + " |")
    return "\n".join(lines)


def counts(measured: dict[tuple[str, int], dict[str, Measurement]]) -> str:
    lines = ["| model, batch | optimizer | " + " | ".join(COUNTED) + " | state bytes |", "|---|---|" + "---:|" * 5]
    for (model, batch), of in sorted(measured.items()):
        for optimizer, measurement in of.items():
            values, state = measurement.counters.values, sum(measurement.counters.state_bytes.values())
            shown = [f"{values.get(name) or 0:,.0f}" for name in COUNTED]
            lines.append(f"| {model}, {batch} | {optimizer} | " + " | ".join([*shown, f"{state:,}"]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    measured = newest([Path(argument) for argument in sys.argv[1:]] or [STORE])
    print(times(measured), counts(measured), sep="\n\n")
