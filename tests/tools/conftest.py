from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tools.toys import QUICK

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs/examples/my_specimens.py"


@pytest.fixture
def stepbench(capsys, monkeypatch, tmp_path):
    """Runs a command in an empty folder and returns its exit code, output and errors."""
    from stepbench.__main__ import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("STEPBENCH_PLUGINS", raising=False)

    def run(*arguments):
        code = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def quick(monkeypatch):
    """Makes the default protocol one of one worker, for tests that are not about statistics."""
    from bench.data.protocol import Protocol
    from stepbench import measure

    monkeypatch.setattr(
        measure, "Protocol", lambda **given: Protocol(**{**given, "workers": min(2, given["workers"]), "rounds": 1})
    )


@pytest.fixture
def compared(stepbench, tmp_path):
    """Runs a comparison and returns exit code, output, errors and the JSON document."""

    def run(repo, *arguments):
        path = tmp_path / "out.json"
        code, out, err = stepbench("compare", "--repo", repo.path, "--json", path, *QUICK, *arguments)
        return code, out, err, json.loads(path.read_text()) if path.exists() else None

    return run
