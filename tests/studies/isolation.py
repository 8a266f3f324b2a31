"""The same two commits in one process and in a process each: is the ratio the same, within the intervals?

The commits are ResNet-20 with Eva and the same with extra work. A process pair takes many times longer to say as much
as a replicate in one process, so that it gets a budget of its own. Ends with 1 where the intervals of a row are apart.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.studies.side_by_side.subject import Subject, extra_for


def compared(subject: Subject, isolation: str, budget: float, out: Path) -> dict[str, dict[str, float]]:
    """Returns the verdicts by metric; the smallest margin and threshold make it take the whole budget."""
    call = ["compare", "--repo", str(subject.path), "--isolation", isolation, "--budget", str(budget)]
    call += ["--margin", "0.0001", "--threshold", "0.5", "--json", str(out), *subject.commits, "resnet20/eva/none"]
    subprocess.run([sys.executable, "-m", "stepbench", *call], check=True, cwd=subject.path, capture_output=True)
    (variant,) = json.loads(out.read_text())["variants"]
    return {row["metric"]: row["verdict"] for row in variant["rows"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--effect", type=float, default=0.05, help="relative cost of head")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds in one process")
    parser.add_argument("--pairs-budget", type=float, default=600.0, help="seconds in a process each")
    options = parser.parse_args()
    apart = False
    with tempfile.TemporaryDirectory() as folder:
        subject = Subject(Path(folder), extra_for(options.effect), options.budget)
        found = {
            isolation: compared(subject, isolation, budget, Path(folder) / f"{isolation}.json")
            for isolation, budget in (("module", options.budget), ("process", options.pairs_budget))
        }
    for metric in found["module"]:
        one, each = found["module"][metric], found["process"][metric]
        cells = [
            f"{verdict['ratio']:.4f} [{verdict['low'] or 0:.4f}, {verdict['high'] or float('inf'):.4f}] "
            f"of {verdict['replicates']} replicates"
            for verdict in (one, each)
        ]
        together = (one["low"] or 0) <= (each["high"] or float("inf")) and (each["low"] or 0) <= (
            one["high"] or float("inf")
        )
        apart |= not together
        print(f"{metric:9} module {cells[0]}   process {cells[1]}   {'agree' if together else 'APART'}")
    return int(apart)


if __name__ == "__main__":
    sys.exit(main())
