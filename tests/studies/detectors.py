"""Series of 50 commits with a known step, or none: what do stepbench, asv and Otava say of them?

Noise is white or remembers (an autoregression of order one), and is multiplied to a level that rises by some percent at
one commit. A series without a step in which anything is reported is a false alarm; one with a step is `found` when a
slowdown is reported, `near` when that is within five commits of where it is. Every detector sees the same series.

asv's detection of steps is what `asv publish` marks regressions with, at its default threshold of 5 % and at 1 %.
Otava 0.8 pins other releases of numpy and scipy than stepbench is tested with, so it runs by an interpreter of its own:
`python -m venv otava && otava/bin/pip install apache-otava`, then `--otava otava/bin/python`. It is called as its
command line does for a series of so many commits: windows of 30, p below 0.001.

`--thresholds` prints the thresholds of bench/analyze/changepoint.py anew; `--summary` the table of results/detectors.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.metadata
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from bench.analyze import changepoint
from bench.analyze.autoregression import statistics
from bench.analyze.calibration import count

FOLDER = Path(__file__).parents[2] / "results/detectors"
COMMITS, NEAR, MORE = 50, 5, 4
LEVEL_S = 0.02
NOISES = {"white": 0.0, "AR(1) 0.5": 0.5}
ROUGH = {"AR(1) 0.7": 0.7, "heavy tails": 0.5, "hiccups": 0.5}
# At which commits each detector reports a slowdown, or (only `stepbench` has more to say) steps of any kind.
Reports = list[list[int]]
OTAVA = """
import json, sys
from otava.analysis import compute_change_points
for line in sys.stdin:
    found, _ = compute_change_points(json.loads(line), window_len=30, max_pvalue=0.001)
    print(json.dumps([[int(one.index), bool(one.stats.mean_2 > one.stats.mean_1)] for one in found]), flush=True)
"""


def noise(kind: str, phi: float, shape: tuple[int, int], generator: np.random.Generator) -> np.ndarray:
    """Returns rows of noise with standard deviation one and memory phi."""
    fresh = generator.standard_t(3, shape) / math.sqrt(3) if kind == "heavy tails" else generator.normal(size=shape)
    rows = np.empty(shape)
    rows[:, 0] = fresh[:, 0]
    for at in range(1, shape[1]):
        rows[:, at] = phi * rows[:, at - 1] + math.sqrt(1 - phi * phi) * fresh[:, at]
    if kind == "hiccups":
        rows += 8 * (generator.random(shape) < 2 / shape[1])
    return rows


def series(kind: str, phi: float, cv: float, step: float, place: int, number: int) -> np.ndarray:
    """Returns series in seconds, the same for every detector."""
    generator = np.random.default_rng([round(1e4 * value) for value in (phi, cv, step, place)] + list(kind.encode()))
    rows = noise(kind, phi, (number, COMMITS), generator)
    levels = np.where(np.arange(COMMITS) >= place, math.log1p(step), 0.0)
    return LEVEL_S * np.exp(levels + cv * rows)


def stepbench(rows: Iterable[np.ndarray]) -> list[changepoint.Levels]:
    return [changepoint.find_steps(row.tolist()) for row in rows]


def asv(rows: Iterable[np.ndarray], threshold: float) -> Reports:
    from asv.step_detect import detect_regressions, detect_steps

    found = []
    for row in rows:
        _, _, jumps = detect_regressions(detect_steps(row.tolist()), threshold)
        found.append([right for _, right, *_ in jumps or ()])
    return found


def otava(rows: Iterable[np.ndarray], python: str) -> list[list[tuple[int, bool]]]:
    lines = "".join(json.dumps(row.tolist()) + "\n" for row in rows)
    done = subprocess.run([python, "-c", OTAVA], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def counted(reports: Reports, place: int) -> dict[str, int]:
    near = sum(any(abs(at - place) <= NEAR for at in row) for row in reports)
    return {"found": sum(bool(row) for row in reports), "near": near}


def cell(kind: str, phi: float, cv: float, step: float, place: int, options: argparse.Namespace) -> Iterable[dict]:
    """Yields a row for each detector: how many of the series it reported something of."""
    # What is rare needs more series to be counted.
    rows = series(kind, phi, cv, step, place, options.series if step else MORE * options.series)
    common = {"noise": kind, "cv": cv, "step": step, "place": place, "commits": COMMITS, "series": len(rows)}
    found = stepbench(rows)
    ups = [[one.index for one in each.steps if one.ratio > 1 or not step] for each in found]
    hits = [
        one for each in found for one in each.steps if step and len(each.steps) == 1 and abs(one.index - place) <= NEAR
    ]
    yield common | {
        "detector": "stepbench", **counted(ups, place), "alone": len(hits),
        "size_covered": sum(one.low <= 1 + step <= one.high for one in hits),
        "place_covered": sum(one.earliest <= place <= one.latest for one in hits),
    }  # fmt: skip
    for threshold in (0.05, 0.01):
        reports = asv(rows, threshold)
        yield common | {"detector": f"asv, threshold {100 * threshold:.0f} %", **counted(reports, place)}
    if options.otava:
        both = otava(rows[: options.series], options.otava)
        ups = [[at for at, up in row if up or not step] for row in both]
        yield common | {"series": len(both), "detector": "Otava", **counted(ups, place)}


def cells() -> Iterable[tuple[str, float, float, float, int]]:
    for kind, phi in NOISES.items():
        for cv in (0.01, 0.02, 0.05):
            for step in (0.0, 0.02, 0.05, 0.1):
                yield kind, phi, cv, step, COMMITS // 2
        yield kind, phi, 0.02, 0.05, COMMITS * 4 // 5
    for kind, phi in ROUGH.items():
        for step in (0.0, 0.05):
            yield kind, phi, 0.02, step, COMMITS // 2


def thresholds(number: int) -> None:
    """Prints for each length what 0.6 % and 0.1 % of series without a step exceed."""
    for length in np.exp(changepoint.LENGTHS).round().astype(int).tolist():
        many = number if length <= 50 else number // 4
        rows = noise("AR(1)", 0.5, (many, length), np.random.default_rng(length))
        gains = np.array([[gain for gain, _ in statistics(changepoint.settled(row))] for row in rows])
        one, two = np.quantile(gains[:, 0], 0.994), np.quantile(gains[:, 1], 0.999)
        either = np.mean((gains[:, 0] >= one) | (gains[:, 1] >= two))
        print(f"{length:4d} commits, {many} series: {one:.1f} {two:.1f}; either {100 * either:.2f} %", flush=True)


def share(hits: int, trials: int) -> str:
    found = count([True] * hits + [False] * (trials - hits))
    return f"{100 * hits / trials:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})" if trials else ""


def summary(rows: Sequence[dict]) -> str:
    """Returns the tables of the page, from the newest row of each cell and detector."""
    newest = {(row["noise"], row["cv"], row["step"], row["place"], row["detector"]): row for row in rows}
    detectors = list(dict.fromkeys(row["detector"] for row in newest.values()))
    lines = [f"| noise | CV | step | at | {' | '.join(detectors)} |", f"|---|---:|---:|---:|{'---:|' * len(detectors)}"]
    for noise_, cv, step, place in dict.fromkeys(key[:4] for key in newest):
        each = [newest.get((noise_, cv, step, place, detector)) for detector in detectors]
        written = [share(row["found"], row["series"]) if row else "not run" for row in each]
        name = f"+{100 * step:.0f} %" if step else "none"
        lines.append(f"| {noise_} | {100 * cv:.0f} % | {name} | {place if step else ''} | {' | '.join(written)} |")
    ours = [row for row in newest.values() if row["detector"] == "stepbench" and row["alone"] >= 50]
    lines += ["", "| noise | CV | step | near | its interval holds the size | its commits hold the place |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for row in ours:
        covered = " | ".join(share(row[name], row["alone"]) for name in ("size_covered", "place_covered"))
        near = share(row["near"], row["series"])
        lines.append(f"| {row['noise']} | {100 * row['cv']:.0f} % | +{100 * row['step']:.0f} % | {near} | {covered} |")
    return "\n".join(lines)


def stored() -> list[dict]:
    return [json.loads(line) for path in sorted(FOLDER.glob("*.jsonl")) for line in path.read_text().splitlines()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--series", type=int, default=1000, help="series a cell")
    parser.add_argument("--otava", metavar="PYTHON", help="an interpreter whose environment has apache-otava")
    parser.add_argument("--store", action="store_true", help="append to results/detectors")
    parser.add_argument("--resume", action="store_true", help="leave out what results/detectors has")
    parser.add_argument("--thresholds", action="store_true")
    parser.add_argument("--summary", action="store_true")
    options = parser.parse_args()
    if options.thresholds:
        thresholds(options.series)
        return 0
    if options.summary:
        print(summary(stored()))
        return 0
    created = dt.datetime.now(dt.UTC)
    about = {"created": created.isoformat(timespec="seconds"), "asv": importlib.metadata.version("asv")}
    path = FOLDER / f"{created:%Y%m%dT%H%M%SZ}.jsonl"
    rows = stored() if options.resume else []
    known = {(row["noise"], row["cv"], row["step"], row["place"]) for row in rows}
    for each in cells():
        if (each[0], *each[2:]) in known:
            continue
        # A cell is stored as a whole, so that one that was cut off is run again.
        lines = [about | row for row in cell(*each, options)]
        rows += lines
        text = "".join(json.dumps(line) + "\n" for line in lines)
        print(text, end="", file=sys.stderr, flush=True)
        if options.store:
            with path.open("a") as stream:
                stream.write(text)
    print(summary(rows))
    kept: Callable[[dict], bool] = lambda row: row["detector"] == "stepbench" and row["noise"] in NOISES  # noqa: E731 - a word for it
    alarms = [row for row in rows if kept(row) and not row["step"]]
    power = [row for row in rows if kept(row) and (row["cv"], row["step"], row["place"]) == (0.02, 0.05, COMMITS // 2)]
    bad = any(row["found"] > 0.01 * row["series"] for row in alarms)
    return int(bad or any(row["found"] < 0.8 * row["series"] for row in power))


if __name__ == "__main__":
    sys.exit(main())
