"""Accuracy of a model on the digits in float and by every kind of flow: means and paired differences over seeds.

Each seed trains one float model, which every flow starts from, and splits the digits anew. Flows after training are
calibrated only; those while training are calibrated and trained for some epochs more, at a third of the learning rate.
So is the float model once, because these epochs alone may make a model better. Runs are kept in --runs and go on where
they ended. Ends with 1 where 8 bits lose more than 0.5 points on the mean, or 4 bits more than 1.
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
from lowbit.models.mobilenetv2 import MobileNetV2
from lowbit.models.resnet20 import ResNet20
from lowbit.pipeline import statistics, trail_text
from lowbit.pipeline.job import Job, Outcome
from lowbit.pipeline.plan import Plan
from lowbit.pipeline.run import run
from lowbit.pipeline.trail import CALIBRATION, Entry, Trail, document
from lowbit.quantization.flows import flow

MODELS = {"resnet20": ResNet20, "mobilenetv2": MobileNetV2}
AFTER = ("kbit-8", "eager-static-x86", "fx-static-x86", "pt2e-static", "f8net")
WHILE_TRAINING = (
    "kbit-8", "kbit-4", "kbit-3", "kbit-2", "fx-qat-x86", "pt2e-qat", "f8net", "dorefa-8-8-32", "dorefa-4-4-32",
)  # fmt: skip
LONGER = "float, as many epochs more"
# Adam's rates: one at which float training is steady after some epochs, and a third of it for all that follows.
LR, QAT_LR = 3e-4, 1e-4
# Most points that may be lost on the mean.
LIMITS = dict.fromkeys(("kbit-8", *AFTER[1:4], "fx-qat-x86", "pt2e-qat"), 0.5) | {"kbit-4": 1.0}


def after(name: str) -> str:
    return f"{name}, after training"


def while_training(name: str) -> str:
    return f"{name}, QAT"


def trails_of(model: str, seed: int, epochs: int, qat_epochs: int, runs: Path) -> dict[str, Trail]:
    """Returns the trails of one seed by row: of flows after training, of flows while training, and in float."""
    data = digits(seed)
    float_only = Plan(model=model, flow=AFTER[0], epochs=epochs, qat_epochs=0, seed=seed, lr=LR, qat_lr=QAT_LR)

    def make(seed: int) -> torch.nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return MODELS[model]()

    def job(row: str, plan: Plan, start: Mapping[str, Any] | None = None) -> Outcome:
        print(f"seed {seed}: {row}", flush=True)
        made = flow(plan.flow)
        whole = Job(plan=plan, make=make, loss=functional.cross_entropy, data=data, flow=made, start=start)
        return run(whole, runs / f"seed-{seed}" / row.replace(", ", "-").replace(" ", "-"))

    first = job(after(AFTER[0]), float_only)
    found = {after(AFTER[0]): first.trail}
    further = replace(float_only, epochs=0)
    for name in AFTER[1:]:
        found[after(name)] = job(after(name), replace(further, flow=name), first.float_state).trail
    for name in WHILE_TRAINING:
        plan = replace(further, flow=name, qat_epochs=qat_epochs)
        found[while_training(name)] = job(while_training(name), plan, first.float_state).trail
    found[LONGER] = job(LONGER, replace(further, epochs=qat_epochs, lr=QAT_LR), first.float_state).trail
    return found


def last_float(trail: Trail) -> Entry:
    assert trail.reference is not None
    return trail.reference


def summary(by_row: dict[str, Sequence[Trail]]) -> tuple[str, list[str]]:
    """Returns the table of all rows, and the rows that lose too much."""
    first = by_row[after(AFTER[0])]
    floats = [last_float(trail).accuracy for trail in first]
    rows = {
        "float": [last_float(trail) for trail in first],
        LONGER: [last_float(trail) for trail in by_row[LONGER]],
    }
    for name in AFTER:
        rows[after(name)] = [trail.entries[-1] for trail in by_row[after(name)]]
    for name in WHILE_TRAINING:
        trails = by_row[while_training(name)]
        if name not in AFTER and name.startswith("kbit-"):
            rows[f"{name}, calibrated only"] = [_at(CALIBRATION, trail) for trail in trails]
        rows[while_training(name)] = [trail.entries[-1] for trail in trails]
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


def write(by_row: dict[str, Sequence[Trail]], stem: Path, title: str, table: str) -> None:
    """Writes the trails, a row a line, those of float alone in a file of their own, and the page."""
    versions = {"stepbench": metadata.version("stepbench"), "torch": torch.__version__}
    versions["python"] = platform.python_version()
    lines = {name: json.dumps({"row": name} | document(trails, versions)) + "\n" for name, trails in by_row.items()}
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".jsonl").write_text("".join(line for name, line in lines.items() if name != LONGER))
    stem.with_name(f"{stem.name}_float_longer.jsonl").write_text(lines[LONGER])
    details = [f"## {name}\n\n{trail_text.markdown(trails)}" for name, trails in by_row.items()]
    stem.with_suffix(".md").write_text("\n".join([title, table, *details]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="resnet20")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8, help="of float training")
    parser.add_argument("--qat-epochs", type=int, default=4)
    parser.add_argument("--runs", type=Path, default=Path("quantized/accuracy_digits"), help="folder of checkpoints")
    parser.add_argument("--results", type=Path, default=Path("results/quantization"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    how = options.epochs, options.qat_epochs, options.runs / options.model
    found = [trails_of(options.model, seed, *how) for seed in range(options.seeds)]
    by_row = {name: [trails[name] for trails in found] for name in found[0]}
    table, bad = summary(by_row)
    epochs = f"{options.epochs} float and {options.qat_epochs} QAT epochs"
    title = f"# {options.model} on the digits, {options.seeds} seeds, {epochs}\n"
    stem = "accuracy_digits" if options.model == "resnet20" else f"accuracy_digits_{options.model}"
    write(by_row, options.results / stem, title, table)
    print(table)
    for name in bad:
        print(f"{name} loses more than {LIMITS[name.partition(',')[0]]} points")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
