"""What each tool says of two commits, in its own words made one of: slower, faster, no change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import ttest_ind

from tests.studies.side_by_side.subject import Subject

Words = dict[str, str]
FACTOR = "1.005"  # stepbench's threshold
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def stepbench(subject: Subject, seconds: float, scratch: Path) -> Words:
    out = scratch / "comparison.json"
    call = ["compare", "--repo", str(subject.path), "--budget", str(seconds), "--json", str(out), *subject.commits]
    _run([sys.executable, "-m", "stepbench", *call, "resnet20/eva/none"], subject.path, allowed=(0, 1))
    (variant,) = json.loads(out.read_text())["variants"]
    word = next(row["verdict"]["word"] for row in variant["rows"] if row["metric"] == "step")
    return {"stepbench compare": word if word in {"slower", "faster"} else "no change"}


def asv(subject: Subject, seconds: float, scratch: Path, *, interleave: bool = False) -> Words:
    """asv continuous as it is, and with its factor lowered to stepbench's threshold, from the same samples."""
    home = scratch / "home"
    home.mkdir()
    environment = {"HOME": str(home)}
    if (Path.home() / ".config/pip/pip.conf").is_file():
        environment["PIP_CONFIG_FILE"] = str(Path.home() / ".config/pip/pip.conf")
    command = [sys.executable, "-m", "asv"]
    _run([*command, "machine", "--yes"], subject.path, environment)
    option = ["--interleave-rounds"] if interleave else []
    said = _run([*command, "continuous", *option, *subject.commits], subject.path, environment, allowed=(0, 1))
    compared = [*command, "compare", "--only-changed", "--factor", FACTOR, *subject.commits]
    lowered = _run(compared, subject.path, environment)
    name = "asv continuous" + (" --interleave-rounds" if interleave else "")
    return {name: _asv_word(said), f"{name} --factor {FACTOR}": _asv_row(lowered)}


def asv_interleaved(subject: Subject, seconds: float, scratch: Path) -> Words:
    return asv(subject, seconds, scratch, interleave=True)


def pytest_benchmark(subject: Subject, seconds: float, scratch: Path) -> Words:
    common = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_steps.py"]
    common += [f"--benchmark-storage=file://{scratch}/saved", f"--benchmark-max-time={seconds / 2}"]
    base, head = subject.checkouts
    _run([*common, "--benchmark-save=base", "--benchmark-save-data"], base, ONE_THREAD)
    compared = ["--benchmark-compare=*_base", "--benchmark-compare-fail=mean:5%"]
    said = _run([*common, *compared], head, ONE_THREAD, allowed=(0, 1))
    return {"pytest-benchmark mean:5%": "slower" if "Performance has regressed" in said else "no change"}


def welch(subject: Subject, seconds: float, scratch: Path) -> Words:
    base, head = (
        np.array(json.loads(_run([sys.executable, "loop.py", str(seconds / 2)], checkout, ONE_THREAD)))
        for checkout in subject.checkouts
    )
    if ttest_ind(base, head, equal_var=False).pvalue >= 0.01:
        word = "no change"
    else:
        word = "slower" if head.mean() > base.mean() else "faster"
    return {"Welch's t, a process a side": word}


RULES: tuple[Callable[[Subject, float, Path], Words], ...] = (stepbench, asv, asv_interleaved, pytest_benchmark, welch)


def _asv_word(said: str) -> str:
    if "PERFORMANCE DECREASED" in said:
        return "slower"
    return "faster" if "PERFORMANCE INCREASED" in said else "no change"


def _asv_row(said: str) -> str:
    """Reads the first column of the row of asv compare's table: + and - are significant changes."""
    marks = [line.split("|")[1].strip() for line in said.splitlines() if "time_step" in line and "|" in line]
    return {"+": "slower", "-": "faster"}.get(marks[0] if marks else "", "no change")


def _run(
    command: list[str], folder: Path, environment: dict[str, str] | None = None, allowed: tuple[int, ...] = (0,)
) -> str:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | (environment or {}), capture_output=True, text=True, check=False
    )
    if done.returncode not in allowed:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout
