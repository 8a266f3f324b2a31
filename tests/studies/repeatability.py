"""The same variant measured twice, again and again: how often do the two intervals of the step overlap?

Each measurement is a run of its own, with its own worker processes, as two calls of `stepbench measure` would be. Ends
with 1 when fewer than 19 of 20 pairs overlap.
"""

from __future__ import annotations

import argparse
import sys

from bench.analyze.row import Summary
from bench.analyze.sample import summarize
from bench.data.protocol import Protocol, default_budget_s
from bench.data.variant import Variant
from bench.run import schedule

LIMIT = 19 / 20


def measure(variant: Variant, protocol: Protocol) -> Summary:
    (record,) = schedule.measure(schedule.new_run(protocol, ()), [variant])
    if record.measurement.failure:
        sys.exit(record.measurement.failure)
    summary = summarize(record.measurement.replicates, "step")
    if summary is None or summary.low is None:
        sys.exit("the protocol gave no interval")
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("variant", nargs="?", default="autoencoder/sgd/none")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--budget", type=float, default=default_budget_s(1), help="seconds a measurement")
    options = parser.parse_args()
    variant, protocol = Variant.parse(options.variant), Protocol(budget_s=options.budget)
    overlaps = 0
    for pair in range(options.pairs):
        first, second = measure(variant, protocol), measure(variant, protocol)
        overlap = first.low <= second.high and second.low <= first.high
        overlaps += overlap
        intervals = "  ".join(
            f"{1e3 * s.center:.3f} ms [{1e3 * s.low:.3f}, {1e3 * s.high:.3f}]" for s in (first, second)
        )
        print(f"{pair + 1:2d}  {intervals}  {'overlap' if overlap else 'APART'}", flush=True)
    print(f"{overlaps} of {options.pairs} pairs overlap")
    return int(overlaps < LIMIT * options.pairs)


if __name__ == "__main__":
    sys.exit(main())
