"""What the instrument adds to a step of 1 ms, against a bare loop, interleaved in one run.

Blocks of steps alternate between three loops in random order: a bare one, one of plain steps and one of phased steps.
Each block is timed from outside; printed is the median ratio of block pairs, with a 95 % interval from its ranks, and
beside it the ratio of what the instrument *reports* to what the bare loop took. Ends with 1 above 1 %.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import random
import statistics
import sys
from types import SimpleNamespace

import torch

from bench.run.clock import HostClock
from bench.run.measure import phased, plain, quiet_collector, spans

LIMIT = 0.01
STEPS = 40


class OneMillisecond:
    """A step whose phases are matrix products that together take about 1 ms on this machine."""

    trains = True
    phases = ("forward", "backward", "optimize")

    def __init__(self, clock: HostClock) -> None:
        self.matrix = torch.randn(96, 96)
        self.repeats = 1
        self.repeats = max(1, round(1e-3 / self.time(clock)))

    def time(self, clock: HostClock) -> float:
        times = []
        for _ in range(15):
            start = clock.mark()
            self.run(0)
            times.append(clock.span(start, clock.mark()).wall)
        return statistics.median(times)

    def work(self) -> torch.Tensor:
        for _ in range(self.repeats):
            result = torch.mm(self.matrix, self.matrix)
        return result

    def zero_grad(self) -> None:
        """Has no gradients."""

    def forward(self, index: int) -> torch.Tensor:
        return self.work()

    def backward(self, loss: torch.Tensor) -> None:
        self.work()

    def optimize(self) -> None:
        self.work()

    def run(self, index: int) -> torch.Tensor:
        self.zero_grad()
        loss = self.forward(index)
        self.backward(loss)
        self.optimize()
        return loss


def block(kind: str, step: OneMillisecond, clock: HostClock) -> SimpleNamespace:
    """Runs one block; returns its time per step from outside, and the median that the instrument reports."""
    timed = []
    start = clock.mark()
    if kind == "bare":
        for index in range(STEPS):
            step.run(index)
    else:
        take = plain if kind == "plain" else phased
        timed += [(take, take(step, clock, index)[1]) for index in range(STEPS)]
    outside = clock.span(start, clock.mark()).wall / STEPS
    samples = spans(step, clock, timed)
    reported = sum(sum(values) for name, values in samples.items() if not name.endswith(".cpu")) / STEPS
    return SimpleNamespace(outside=outside, reported=reported if timed else outside)


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """Returns the median and its 95 % interval from order statistics (normal approximation of the binomial)."""
    ordered = sorted(values)
    half = 0.98 * len(ordered) ** 0.5
    low, high = int(len(ordered) / 2 - half), int(len(ordered) / 2 + half)
    return statistics.median(ordered), ordered[max(low, 0)], ordered[min(high, len(ordered) - 1)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=200, help="blocks of each kind (default 200, about 25 s)")
    blocks = parser.parse_args().blocks
    torch.set_num_threads(1)
    clock, order = HostClock(), random.Random(0)
    step = OneMillisecond(clock)
    found: dict[str, list[SimpleNamespace]] = {"bare": [], "plain": [], "phased": []}
    with quiet_collector():
        for _ in range(blocks):
            for kind in order.sample(list(found), len(found)):
                found[kind].append(block(kind, step, clock))
    bare_ms = 1e3 * statistics.median(each.outside for each in found["bare"])
    print(f"bare step: {bare_ms:.3f} ms, {blocks} blocks of {STEPS} steps")
    worst = 0.0
    for kind in ("plain", "phased"):
        for what in ("outside", "reported"):
            ratios = [getattr(ours, what) / bare.outside for ours, bare in zip(found[kind], found["bare"], strict=True)]
            middle, low, high = median_interval(ratios)
            worst = max(worst, middle - 1)
            print(f"{kind} steps, {what}: {middle:.4f} of the bare loop  [{low:.4f}, {high:.4f}]")
    print(f"largest overhead {100 * worst:.2f} %, allowed {100 * LIMIT:.0f} %")
    return int(worst > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
