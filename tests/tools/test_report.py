from __future__ import annotations

import pytest

from tests.tools.conftest import EXAMPLE


@pytest.fixture
def measured(stepbench, quick, tmp_path):
    code, out, err = stepbench("measure", "mlp/my-sgd/none", "--plugin", EXAMPLE, "--budget", "0.2")
    assert code == 0, err
    (path,) = (tmp_path / "results/records").rglob("*.jsonl")
    return path, out


def test_a_truncated_file_is_reported_with_its_line_and_the_rest_is_shown(stepbench, measured):
    path, out = measured
    with path.open("ab") as stream:
        stream.write(path.read_bytes()[:200])
    code, again, err = stepbench("report", path)
    assert code == 0
    assert again == out
    assert f"{path.name}:2" in err
    assert err.count("\n") == 1


def test_a_file_of_damaged_lines_only_is_nothing_measured(stepbench, measured):
    path, _ = measured
    path.write_bytes(path.read_bytes()[:-20])
    code, out, err = stepbench("report")
    assert (code, out) == (4, "")
    assert f"{path.name}:1" in err


def test_records_that_are_not_there_are_said_so(stepbench):
    code, _, err = stepbench("report")
    assert code == 4
    assert "stepbench measure" in err
    code, _, err = stepbench("report", "no/such/path")
    assert code == 2
    assert "no/such/path does not exist" in err
