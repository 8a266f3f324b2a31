"""Accuracy of ResNet-20 on the digits in float, and with 8, 4, 3 and 2 bits: means and paired differences over seeds.

Each seed trains one float model, which every flow starts from, and splits the digits anew. `kbit-8` after training is
calibrated only; the others are calibrated and trained for some epochs more, at a third of the learning rate. So is the
float model once, because these epochs alone may make a model better. Runs are kept in --runs and go on where they
ended. Ends with 1 where 8 bits lose more than 0.5 points on the mean, or 4 bits more than 1.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from lowbit.data.split import digits
from lowbit.models.resnet20 import ResNet20
from lowbit.pipeline import statistics, trail_text
from lowbit.pipeline.job import Job, Outcome
from lowbit.pipeline.plan import Plan
from lowbit.pipeline.run import run
from lowbit.pipeline.trail import CALIBRATION, Entry, Trail, document
from lowbit.quantization.flows import flow

STATIC, WHILE_TRAINING = "kbit-8", ("kbit-8", "kbit-4", "kbit-3", "kbit-2")
AFTER_TRAINING, LONGER = f"{STATIC}, after training", "float, as many epochs more"
# Adam's rates: one at which float training is steady after some epochs, and a third of it for all that follows.
LR, QAT_LR = 3e-4, 1e-4
# Most points that may be lost on the mean.
LIMITS = {"kbit-8": 0.5, "kbit-4": 1.0}


def model(seed: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ResNet20()


def trails_of(seed: int, epochs: int, qat_epochs: int, runs: Path) -> dict[str, Trail]:
    """Returns the trails of one seed by row: after training, while training with each number of bits, and in float."""
    static = Plan(model="resnet20", flow=STATIC, epochs=epochs, qat_epochs=0, seed=seed, lr=LR, qat_lr=QAT_LR)
    data = digits(seed)

    def job(row: str, plan: Plan, start: Mapping[str, Any] | None = None) -> Outcome:
        print(f"seed {seed}: {row}", flush=True)
        made = flow(plan.flow)
        whole = Job(plan=plan, make=model, loss=functional.cross_entropy, data=data, flow=made, start=start)
        return run(whole, runs / f"seed-{seed}" / row.replace(", ", "-").replace(" ", "-"))

    first = job(AFTER_TRAINING, static)
    found = {AFTER_TRAINING: first.trail}
    further = replace(static, epochs=0, qat_epochs=qat_epochs)
    for name in WHILE_TRAINING:
        row = f"{name}, QAT"
        found[row] = job(row, replace(further, flow=name), first.float_state).trail
    found[LONGER] = job(LONGER, replace(static, epochs=qat_epochs, lr=QAT_LR), first.float_state).trail
    return found


def last_float(trail: Trail) -> Entry:
    assert trail.reference is not None
    return trail.reference


def summary(by_row: dict[str, Sequence[Trail]]) -> tuple[str, list[str]]:
    """Returns the table of all rows, and the rows that lose too much."""
    static = by_row[AFTER_TRAINING]
    floats = [last_float(trail).accuracy for trail in static]
    rows = {
        "float": [last_float(trail) for trail in static],
        LONGER: [last_float(trail) for trail in by_row[LONGER]],
        AFTER_TRAINING: [trail.entries[-1] for trail in static],
    }
    for name in WHILE_TRAINING:
        trails = by_row[f"{name}, QAT"]
        if name != STATIC:
            rows[f"{name}, calibrated only"] = [_at(CALIBRATION, trail) for trail in trails]
        rows[f"{name}, QAT"] = [trail.entries[-1] for trail in trails]
    lines = ["| | Acc@1, mean | 95 % | vs float, points | 95 % |", "|---|---:|---:|---:|---|"]
    bad = []
    for name, entries in rows.items():
        found = [entry.accuracy for entry in entries]
        mean, difference = statistics.mean(found), statistics.mean_difference(found, floats)
        versus = ["", ""] if name == "float" else [f"{100 * difference.center:+.2f}", trail_text.points(difference)]
        lines.append(f"| {name} | {100 * mean.center:.2f} | {trail_text.percent(mean)} | {versus[0]} | {versus[1]} |")
        limit = LIMITS.get(name.partition(",")[0])
        if limit is not None and "calibrated only" not in name and -100 * difference.center > limit:
            bad.append(name)
    return "\n".join(lines) + "\n", bad


def _at(stage: str, trail: Trail) -> Entry:
    return next(entry for entry in trail.entries if entry.stage == stage)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8, help="of float training")
    parser.add_argument("--qat-epochs", type=int, default=4)
    parser.add_argument("--runs", type=Path, default=Path("quantized/accuracy_digits"), help="folder of checkpoints")
    parser.add_argument("--results", type=Path, default=Path("results/quantization"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = [trails_of(seed, options.epochs, options.qat_epochs, options.runs) for seed in range(options.seeds)]
    by_row = {name: [trails[name] for trails in found] for name in found[0]}
    versions = {"stepbench": metadata.version("stepbench"), "torch": torch.__version__}
    versions["python"] = platform.python_version()
    table, bad = summary(by_row)
    options.results.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"row": name} | document(trails, versions)) for name, trails in by_row.items()]
    (options.results / "accuracy_digits.jsonl").write_text("\n".join(lines) + "\n")
    details = [f"## {name}\n\n{trail_text.markdown(trails)}" for name, trails in by_row.items()]
    epochs = f"{options.epochs} float and {options.qat_epochs} QAT epochs"
    title = f"# ResNet-20 on the digits, {options.seeds} seeds, {epochs}\n"
    (options.results / "accuracy_digits.md").write_text("\n".join([title, table, *details]))
    print(table)
    for name in bad:
        print(f"{name} loses more than {LIMITS[name.partition(',')[0]]} points")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
