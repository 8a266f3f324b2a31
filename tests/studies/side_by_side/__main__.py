"""The same two commits, given to stepbench, asv, pytest-benchmark and Welch's test, for the same time each.

A trial makes a repository with two commits of ResNet-20 with Eva, whose steps differ by --effect, and asks every rule
in random order. Each answer is appended to a file of --results at once; the table counts all answers stored there.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import defaultdict
from pathlib import Path

from bench.analyze.calibration import count
from bench.run.clock import now
from tests.studies.side_by_side.rules import RULES
from tests.studies.side_by_side.subject import ROOT, Subject, extra_for

STORE = ROOT / "results/calibration/side_by_side"


def trial(effect: float, seconds: float, stream: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        extra = extra_for(effect)
        subject = Subject(Path(folder), extra, seconds)
        for number, rule in enumerate(random.sample(RULES, len(RULES))):
            scratch = Path(folder) / f"scratch-{number}"
            scratch.mkdir()
            begun = now()
            words = rule(subject, seconds, scratch)
            took = round(now() - begun, 1)
            for name, word in words.items():
                print(f"  {name}: {word} ({took:.0f} s)", flush=True)
                row = {
                    "rule": name,
                    "effect": effect,
                    "extra": extra,
                    "budget_s": seconds,
                    "took_s": took,
                    "word": word,
                }
                stream.write(json.dumps(row) + "\n")
                stream.flush()


def table(folder: Path) -> str:
    answers: dict[str, dict[float, list[str]]] = defaultdict(lambda: defaultdict(list))
    took: dict[str, list[float]] = defaultdict(list)
    for path in sorted(folder.glob("*.jsonl")):
        for row in map(json.loads, path.read_text().splitlines()):
            answers[row["rule"]][row["effect"]].append(row["word"])
            took[row["rule"]].append(row["took_s"])
    effects = sorted({effect for found in answers.values() for effect in found})
    heads = ["rule", *(f"finds +{100 * e:g} %" if e else "false alarms" for e in effects), "wall time"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for rule, found in answers.items():
        cells = [rule]
        for effect in effects:
            wanted = {"slower"} if effect else {"slower", "faster"}
            share = count([word in wanted for word in found[effect]])
            cells.append(f"{share.hits}/{share.trials} ({100 * share.low:.0f} to {100 * share.high:.0f} %)")
        lines.append(f"| {' | '.join([*cells, f'{sum(took[rule]) / len(took[rule]):.0f} s'])} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--effect", type=float, action="append", help="relative cost of head; repeatable")
    parser.add_argument("--trials", type=int, default=1, help="repositories of each effect")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of measuring for each rule")
    parser.add_argument("--results", type=Path, default=STORE)
    options = parser.parse_args()
    options.results.mkdir(parents=True, exist_ok=True)
    for number in range(options.trials):
        for effect in options.effect or [0.0, 0.02]:
            print(f"trial {number + 1} of {options.trials}, +{100 * effect:g} %", flush=True)
            with (options.results / "answers.jsonl").open("a") as stream:
                trial(effect, options.budget, stream)
    print(table(options.results))


if __name__ == "__main__":
    main()
