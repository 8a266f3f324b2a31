"""How should two sides take turns: by steps, by phases, at once on one core, or in blocks with the first step dropped?

Replicates of the four kinds are taken in turn, in random order, in one process. Printed are, for each: the median
time of base (turns that disturb the caches make it longer), the estimated change, the scatter of pairs and of
replicates (both robust), what is left of the latter without the former, which is that of rebuilding, and the quotient
f of the two. `bench/run/alternation.py` and `bench/run/duet.py` rest on these numbers.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import math
import random
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

from bench.data.duet import DuetReplicate
from bench.data.metric import STEP
from bench.data.variant import Variant
from bench.run.alternation import Alternation, Table, at_once, phase_by_phase, step_by_step
from bench.run.clock import now
from bench.run.duet import Duet
from bench.run.handicap import committed_twice
from bench.run.isolation import Side, isolated
from bench.run.measure import phased

BLOCK = 5
VARIANTS = ["resnet20/eva/none", "autoencoder/sgd/none", "vit/eva-8bit/none"]


def blocks(table: Table, index: int) -> int:
    """Takes a block of steps of each side, and drops its first step."""
    for player in table.order.sample(table.players, 2):
        table.isolation.switch(player.side)
        for step in range(BLOCK):
            marks = phased(player.step, table.clock, index + step)[1]
            if step:
                player.timed.append((phased, marks))
    return index + BLOCK


KINDS: dict[str, Alternation] = {
    "step by step": step_by_step,
    "phase by phase": phase_by_phase,
    "at once": at_once,
    "in blocks": blocks,
}


def scatter(values: np.ndarray) -> float:
    """Returns the standard deviation that normal values of the same median deviation have."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def row(name: str, replicates: list[DuetReplicate], seconds: float, metric: str) -> str:
    ratios = [np.log(r.samples["head"][metric]) - np.log(r.samples["base"][metric]) for r in replicates]
    pairs = scatter(np.concatenate([each - np.median(each) for each in ratios]))
    medians = np.array([np.median(each) for each in ratios])
    between, count = scatter(medians), statistics.median(map(len, ratios))
    # The median of n pairs scatters by sqrt(pi / 2 n) of what a pair does.
    rebuild = math.sqrt(max(between**2 - math.pi / 2 * pairs**2 / count, 0.0))
    base = statistics.median(statistics.median(r.samples["base"][metric]) for r in replicates)
    in_a_minute = between / math.sqrt(60 * len(replicates) / seconds)
    cells = [
        name, f"{1e3 * base:.2f} ms", f"{100 * math.expm1(float(np.median(medians))):+.2f} %", f"{100 * pairs:.2f} %",
        f"{len(replicates)} x {count:g}", f"{100 * between:.2f} %", f"{100 * rebuild:.2f} %",
        f"{pairs / rebuild:.1f}" if rebuild else "", f"{100 * in_a_minute:.3f} %",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("variants", nargs="*", default=VARIANTS)
    parser.add_argument("--seconds", type=float, default=120.0, help="time for each variant")
    parser.add_argument("--extra", type=int, default=0, help="units of extra work in head, of bench/run/handicap.py")
    parser.add_argument("--metric", default=STEP, help="the step or one of its phases")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1).zero_grad()
    heads = ["turns", "median", "change", "pairs", "replicates x pairs", "replicates", "rebuild", "f", "error in 60 s"]
    with tempfile.TemporaryDirectory() as folder:
        sides = [Side(version) for version in committed_twice(options.extra, Path(folder))]
        with isolated(sides) as isolation:
            for text in options.variants:
                taken: dict[str, list[DuetReplicate]] = {name: [] for name in KINDS}
                spent = dict.fromkeys(KINDS, 0.0)
                begun = now()
                while now() - begun < options.seconds:
                    for name in random.sample(list(KINDS), len(KINDS)):
                        started = now()
                        duet = Duet(isolation, data="digits", seed=0, worker=0, alternation=KINDS[name])
                        duet.order = random.Random()
                        taken[name].append(
                            duet.replicate(Variant.parse(text), 0, head_first=random.random() < 0.5, begun=begun)
                        )
                        spent[name] += now() - started
                print(f"{text}\n| {' | '.join(heads)} |\n|---|{'---:|' * (len(heads) - 1)}")
                print(
                    "\n".join(row(name, taken[name], spent[name], options.metric) for name in KINDS),
                    end="\n\n",
                    flush=True,
                )


if __name__ == "__main__":
    main()
