"""Steps of several variants beside each other, step by step in turn, so that all see the same moments.

In each of several processes every variant is built. In every round each takes some steps, in random order, of which the
last is timed: by then the caches are its own again; of long steps, which fill them by themselves, only one. A ratio is
the median over the rounds of a process, and its interval that of the mean over processes. Times by phase are kept, a
process a line.

Rows of `stepbench measure` run alone for half a second at a time; on a machine that others use too, such half seconds
differ by more than the variants do.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import itertools
import json
import math
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.analyze.seeds import mean
from bench.data.metric import STEP
from bench.data.variant import Variant
from bench.run.build import build
from bench.run.clock import HostClock, now
from bench.run.load import load
from bench.run.measure import phased
from bench.run.probe import environment

# First steps make state and tables.
SETTLED, FEWEST = 3, 4
# So long at least a variant runs before its step is timed, and no step that is as long by itself.
WARM_S, STEPS = 0.02, 2
LONG_S = 0.2
Run = dict[str, Any]


def turns(variants: Sequence[str], plugins: Sequence[str], seconds: float, seed: int) -> dict[str, dict[str, Any]]:
    """Returns the times in seconds of each phase and of the step, by variant, round by round."""
    import torch

    torch.set_num_threads(1)
    known, clock, order = load(plugins), HostClock(), random.Random(seed)
    digits = known.get("data", "digits").factory()
    steps = {name: build(known, Variant.parse(name), data=digits, seed=seed) for name in variants}
    for step in steps.values():
        for index in range(SETTLED):
            step.run(index)
    begun = now()
    steps[variants[0]].run(SETTLED)
    start, rounds = now(), 0
    long = start - begun
    before = 0 if long > LONG_S else max(STEPS, math.ceil(WARM_S / long))
    found: dict[str, dict[str, list[float]]] = {name: {} for name in steps}
    while rounds < FEWEST or now() - start < seconds:
        for name in order.sample(list(steps), len(steps)):
            for index in range(before):
                steps[name].run(SETTLED + rounds + index)
            marks = phased(steps[name], clock, SETTLED + rounds)[1]
            spans = [clock.span(*pair).wall for pair in itertools.pairwise(marks)]
            for phase, value in zip(("zero_grad", *steps[name].phases, STEP), (*spans, sum(spans)), strict=True):
                # To four digits, which no clock is better than.
                found[name].setdefault(phase, []).append(float(f"{value:.4g}"))
        rounds += 1
    return found


def processes(variants: Sequence[str], plugins: Sequence[str], seconds: float, count: int) -> list[Run]:
    """Returns what some processes, one after the other, found in turns of these variants."""
    found = []
    for seed in range(count):
        asked = json.dumps({"variants": list(variants), "plugins": list(plugins), "seconds": seconds, "seed": seed})
        call = [sys.executable, "-m", "tests.studies.turns", asked]
        done = subprocess.run(call, check=True, stdout=subprocess.PIPE, text=True)
        found.append({"seed": seed, "seconds": json.loads(done.stdout.splitlines()[-1])})
    return found


def ratio(runs: Sequence[Run], ours: str, theirs: str, phase: str = STEP) -> str:
    """Renders the ratio of two variants over processes, with its interval."""
    of = [run["seconds"] for run in runs if {ours, theirs} <= run["seconds"].keys()]
    logs = []
    for seconds in of:
        pairs = zip(seconds[ours][phase], seconds[theirs][phase], strict=True)
        logs.append(math.log(statistics.median(one / other for one, other in pairs)))
    found = mean(logs)
    if found.low is None or found.high is None:
        return f"{math.exp(found.center):.2f}"
    return f"{math.exp(found.center):.2f} ({math.exp(found.low):.2f} to {math.exp(found.high):.2f})"


def options(summary: str, workers: int, seconds: float) -> argparse.Namespace:
    """Returns what a study of turns was asked for."""
    parser = argparse.ArgumentParser(description=summary, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--seconds", type=float, default=seconds, help="of all variants of a model in each process")
    parser.add_argument("--workers", type=int, default=workers, help="processes, one after the other")
    parser.add_argument("--summary", action="store_true", help="only show what is stored")
    return parser.parse_args()


def read(path: Path) -> list[Run]:
    """Returns the runs that are stored."""
    runs: list[Run] = json.loads(path.read_text())["runs"]
    return runs


def write(path: Path, runs: Sequence[Run]) -> None:
    """Stores runs, a process a line, with the machine that they are of."""
    lines = ",\n".join(json.dumps(run) for run in runs)
    path.write_text(f'{{"environment": {json.dumps(asdict(environment()))},\n"runs": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    print(json.dumps(turns(**json.loads(sys.argv[1]))))
