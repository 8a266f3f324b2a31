from __future__ import annotations

import json

import pytest

from tests.tools.toys import toys


@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_trials_are_stored_and_counted(repository, stepbench, monkeypatch, effect):
    repo = repository(toys())
    repo.commit()
    monkeypatch.chdir(repo.path)
    code, _, err = stepbench(
        "calibrate", "net/plain/none", "--trials", "1", "--budget", "2", "--workers", "1", "--effect", str(effect),
        "--results", repo.path / "out",
    )  # fmt: skip
    assert (code, "net/plain/none 1/1: step" in err) == (0, True)
    (path,) = (repo.path / "out").glob("*.jsonl")
    trial = json.loads(path.read_text())
    assert len(trial["seconds"]) == len(trial["head_first"]) == len(trial["log_ratios"]["optimize"]) > 2
    assert (trial["extra"] > 0) is (effect > 0)
    with path.open("a") as stream:
        stream.write("broken\n")
    code, out, err = stepbench("calibrate", "--summary", "--results", repo.path / "out")
    assert code == 0
    assert "| `net/plain/none` | no |" in out
    assert f"skipped: {path}:2" in err
    assert ("False alarms in any row" in out) is (effect == 0)


@pytest.mark.slow
def test_two_trials_at_a_time_are_each_others_busy_neighbour(repository, stepbench, monkeypatch):
    repo = repository(toys())
    repo.commit()
    monkeypatch.chdir(repo.path)
    asked = ("net/plain/none", "--trials", "3", "--budget", "1", "--workers", "1", "--busy")
    assert stepbench("calibrate", *asked, "--results", repo.path / "out")[0] == 0
    (path,) = (repo.path / "out").glob("*.jsonl")
    assert [json.loads(line)["busy"] for line in path.read_text().splitlines()] == [True] * 3


def test_without_trials_there_is_no_summary(stepbench, tmp_path):
    assert stepbench("calibrate", "--summary", "--results", tmp_path)[0] == 4
