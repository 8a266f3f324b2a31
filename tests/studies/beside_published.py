"""Prints stored measurements beside the published ones, both as ratios to the fp32 Eva row of their model.

The two ran on different machines, so that only ratios can stand side by side. Records are given as files or folders;
the newest record of a variant counts.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from bench.analyze.table import tables
from bench.data.metric import PHASES, STEP
from bench.report.seed import published_model, published_optimizer
from bench.store.jsonl import scan

ROOT = Path(__file__).parents[2]
COLUMNS = (*PHASES, STEP)
Times = dict[tuple[str, str], dict[str, float]]


def published(path: Path) -> Times:
    with path.open(newline="") as stream:
        return {
            (row["model"], row["optimizer"]): {name: float(row[f"{name}_ms"]) for name in COLUMNS}
            for row in csv.DictReader(stream)
        }


def measured(paths: list[Path]) -> Times:
    records, _ = scan(paths)
    return {
        (published_model(row.variant.model), published_optimizer(row.variant.optimizer)): {
            name: row.summaries[name].center for name in COLUMNS
        }
        for table in tables(records)
        for row in table.rows
        if not row.failure
    }


def render(ours: Times, theirs: Times) -> str:
    lines = [
        "| model | optimizer | " + " | ".join(COLUMNS) + " |",
        "|---|---|" + "---:|" * len(COLUMNS),
    ]
    for model, optimizer in theirs:
        if optimizer == "eva" or (model, optimizer) not in ours:
            continue
        own, other = (times[model, optimizer] for times in (ours, theirs))
        base, other_base = (times[model, "eva"] for times in (ours, theirs))
        cells = [f"{own[n] / base[n]:.2f} ({other[n] / other_base[n]:.2f})" for n in COLUMNS]
        lines.append(f"| {model} | {optimizer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]] or [ROOT / "results/records"]
    print(render(measured(given), published(ROOT / "results/published/step_times.csv")))
