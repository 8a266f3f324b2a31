"""How long steps of Eva's forms take beside each other, step by step in turn, so that all see the same moments.

In each of several processes all optimizers train a model of their own. In every round each takes three steps, in random
order, of which the last is timed: by then the caches are its own again; of long steps, which fill them by themselves,
only one. A ratio is the median over the rounds of a
process, and its interval that of the mean over processes. Times by phase are kept, a process a line.

Rows of `stepbench measure` run alone for half a second at a time; on a machine that others use too, such half seconds
differ by more than the optimizers do.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import itertools
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from math import exp, log
from pathlib import Path
from typing import Any

from bench.analyze.seeds import mean
from bench.data.metric import PHASES, STEP
from bench.data.variant import Variant
from bench.run.build import build
from bench.run.clock import now
from bench.run.load import load
from bench.run.measure import phased
from bench.run.probe import environment

STORE = Path(__file__).parents[2] / "results/eva/turns.json"
REFERENCE = str(Path(__file__).with_name("eva_reference.py"))
MODELS, BATCHES = ("resnet20", "autoencoder", "vit"), (1, 32)
OPTIMIZERS = ("sgd", "eva", "eva-8bit", "eva-8bit-cpu", "eva-eager", "eva-8bit-eager", "eva-reference")
# First steps make state and tables.
SETTLED, IN_A_ROW, FEWEST = 5, 3, 5
LONG_S = 0.2
# (heading, optimizer, what it is compared with, phase or the whole step)
COLUMNS = (
    ("eva / sgd", "eva", "sgd", "step"),
    ("eva-8bit / eva", "eva-8bit", "eva", "step"),
    ("eva-8bit-cpu / eva", "eva-8bit-cpu", "eva", "step"),
    ("reference / eva, optimize", "eva-reference", "eva", "optimize"),
    ("eva-eager / sgd", "eva-eager", "sgd", "step"),
    ("eva-8bit-eager / eva-eager", "eva-8bit-eager", "eva-eager", "step"),
)


def turns(model: str, batch: int, seconds: float, worker: int) -> dict[str, dict[str, list[float]]]:
    """Returns the times in seconds of each phase and of the step, by optimizer, round by round."""
    import torch

    from bench.run.clock import HostClock

    torch.set_num_threads(1)
    known, clock, order = load([REFERENCE]), HostClock(), random.Random(worker)
    digits = known.get("data", "digits").factory()
    steps = {
        name: build(known, Variant.parse(f"{model}/{name}/none@batch={batch}"), data=digits, seed=worker)
        for name in OPTIMIZERS
    }
    for step in steps.values():
        for index in range(SETTLED):
            step.run(index)
    found: dict[str, dict[str, list[float]]] = {name: {} for name in steps}
    begun = now()
    steps["sgd"].run(SETTLED)
    start, rounds = now(), 0
    before = 0 if start - begun > LONG_S else IN_A_ROW - 1
    while rounds < FEWEST or now() - start < seconds:
        for name in order.sample(list(steps), len(steps)):
            for index in range(before):
                steps[name].run(SETTLED + rounds + index)
            marks = phased(steps[name], clock, SETTLED + rounds)[1]
            spans = [clock.span(*pair).wall for pair in itertools.pairwise(marks)]
            for phase, value in zip(("zero_grad", *PHASES, STEP), (*spans, sum(spans)), strict=True):
                # To four digits, which no clock is better than.
                found[name].setdefault(phase, []).append(float(f"{value:.4g}"))
        rounds += 1
    return found


def ratio(lines: Sequence[dict[str, Any]], optimizer: str, baseline: str, phase: str) -> str:
    """Renders the ratio of two optimizers over processes, with its interval."""
    logs = []
    for line in lines:
        ours, theirs = (line["seconds"][name][phase] for name in (optimizer, baseline))
        logs.append(log(statistics.median(one / other for one, other in zip(ours, theirs, strict=True))))
    found = mean(logs)
    if found.low is None or found.high is None:
        return f"{exp(found.center):.2f}"
    return f"{exp(found.center):.2f} ({exp(found.low):.2f} to {exp(found.high):.2f})"


def table(lines: Sequence[dict[str, Any]]) -> str:
    """Returns the ratios of what is stored."""
    rows = ["| model, batch | " + " | ".join(name for name, *_ in COLUMNS) + " |", "|---|" + "---:|" * len(COLUMNS)]
    for model, batch in sorted({(line["model"], line["batch"]) for line in lines}):
        of = [line for line in lines if (line["model"], line["batch"]) == (model, batch)]
        rows.append(f"| {model}, {batch} | " + " | ".join(ratio(of, *where) for _, *where in COLUMNS) + " |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=12, help="of each model and batch in each process")
    parser.add_argument("--workers", type=int, default=5)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--summary", action="store_true", help="only show what is stored")
    parser.add_argument("--one", nargs=3, metavar=("MODEL", "BATCH", "WORKER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        model, batch, worker = options.one
        print(json.dumps(turns(model, int(batch), options.seconds, int(worker))))
        return
    stored = json.loads(STORE.read_text())["runs"] if STORE.exists() else []
    if not options.summary:
        stored = [line for line in stored if line["model"] not in options.models]
        found = asdict(environment())
        for model in options.models:
            for batch in BATCHES:
                for worker in range(options.workers):
                    one = ("--one", model, str(batch), str(worker), "--seconds", str(options.seconds))
                    call = [sys.executable, "-m", "tests.studies.eva_turns", *one]
                    done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
                    seconds = json.loads(done.stdout.splitlines()[-1])
                    stored.append({"model": model, "batch": batch, "worker": worker, "seconds": seconds})
                STORE.write_text(document(found, stored))
                print(table([line for line in stored if line["model"] == model]), flush=True)
    print(table(stored))


def document(found: dict[str, Any], stored: Sequence[dict[str, Any]]) -> str:
    """Renders what is stored, a process a line."""
    lines = ",\n".join(json.dumps(line) for line in stored)
    return f'{{"environment": {json.dumps(found)},\n"runs": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    main()
