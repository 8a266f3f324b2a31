"""Twelve commits, one of which makes `optimize` a tenth slower: is it found, and named?

A repository is made, each of its commits is measured as `stepbench measure` would in a nightly job, and the records go
to `stepbench history --bisect`. Ends with 1 where the history has no change of `optimize` that holds the culprit, or
the search names another commit.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.repositories import Repository
from tests.tools.toys import PLUGIN, PYPROJECT

COMMITS = 12
# Rounds of small operations in a step of the optimizer: some milliseconds, and a tenth more.
ROUNDS, SLOWER = 200, 220
OPTIMIZER = """
import torch

class Descent(torch.optim.SGD):
    @torch.no_grad()
    def step(self, closure=None):
        for _ in range({rounds}):
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.sub_(parameter.grad, alpha=group["lr"] / {rounds})
"""
VARIANTS = tuple(f"net/{optimizer}/none@batch=8" for optimizer in ("descent", "steady"))
# A row whose code no commit changes: beside it a machine that is slow today does not look like a slow commit.
STEADY = """
    @registry.optimizer("steady")
    def steady(module):
        return Steady(module.parameters(), lr=0.01)
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--culprit", type=int, default=7, help="which commit is slower")
    parser.add_argument("--budget", type=float, default=10.0, help="seconds to measure a commit")
    parser.add_argument("--workers", type=int, default=5)
    parser.add_argument("--keep", metavar="PATH", help="an empty folder for repository and records, which stay there")
    options = parser.parse_args()
    if options.keep:
        return tried(Path(options.keep), options)
    with tempfile.TemporaryDirectory() as folder:
        return tried(Path(folder), options)


def tried(folder: Path, options: argparse.Namespace) -> int:
    steady = OPTIMIZER.format(rounds=ROUNDS).replace("Descent", "Steady")
    plugin = steady + PLUGIN.replace("{name}", "descent") + STEADY
    files = {"pyproject.toml": PYPROJECT, "toys/__init__.py": "", "toys/plugin.py": plugin}
    repo, names = Repository(folder / "repo", files), []
    for number in range(COMMITS):
        rounds = SLOWER if number >= options.culprit else ROUNDS
        repo.write({"toys/optimizer.py": OPTIMIZER.format(rounds=rounds), "README": str(number)})
        names.append(repo.commit(f"change {number}"))
    records = folder / "records"
    for name in names:
        repo.git("checkout", "-q", name)
        settings = ("--budget", str(options.budget), "--workers", str(options.workers), "--results", str(records))
        stepbench(repo, "measure", *VARIANTS, "--baseline", "steady", "--plugin", "toys/plugin.py", *settings)
        print(f"measured {name[:10]}", flush=True)
    repo.git("checkout", "-q", "main")
    shown = ("--results", str(records), "--metric", "optimize", "--baseline", "steady")
    said = stepbench(repo, "history", *shown, "--bisect")
    print(said)
    culprit = names[options.culprit][:10]
    return int(re.search(rf"it is {culprit}, 'change {options.culprit}'", said) is None)


def stepbench(repo: Repository, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(repo.path), "COLUMNS": "120", "PYTHONDONTWRITEBYTECODE": "1"}
    call = [sys.executable, "-m", "stepbench", *arguments]
    done = subprocess.run(call, cwd=repo.path, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 1}:
        print(done.stdout)
        sys.exit(done.stderr)
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
