from __future__ import annotations

import json
import math
import pickle
import shutil
import subprocess
import sys

import pytest

from tests.tools.conftest import ROOT

DATA = ROOT / "tests/data"


@pytest.fixture
def folder(tmp_path):
    """Files of both tools below one folder, as a project has them."""
    shutil.copytree(DATA, tmp_path / "found")
    return tmp_path / "found"


def test_a_folder_of_files_becomes_records_that_report_shows(stepbench, folder):
    code, out, err = stepbench("ingest", "found")
    assert (code, err) == (0, "")
    assert out.startswith("17 records from 4 files\n")
    assert "no record for 2 benchmarks, asv: did not apply where it ran, or was not chosen (asv's NaN)" in out
    code, out, _ = stepbench("report")
    assert code == 0
    assert "tracked 97" in out
    assert "resnet20" in out
    assert "toy.mem_list" in out
    code, out, _ = stepbench("ingest", "found")
    assert (code, out.splitlines()[0]) == (0, "0 records from 0 files; 4 files were read before")


def test_damaged_and_hostile_files_are_a_line_each_and_lose_no_other(stepbench, folder):
    hostile = {
        "cut.json": b'{"results": {', "nan.json": b"[NaN]", "deep.json": b"[" * 100_000, "other.json": b"{}",
        "twice.json": b'{"a": 1, "a": 2}', "pickle.json": pickle.dumps({"results": {}}), "bytes.json": b"\xff",
        "long.json": b'["' + b"x" * (10 << 20) + b'"]', "new\nline.json": b"",
    }  # fmt: skip
    for name, content in hostile.items():
        (folder / name).write_bytes(content)
    code, out, err = stepbench("ingest", "found")
    assert code == 2
    assert out.startswith("17 records from 4 files\n")
    assert len(err.splitlines()) == len(hostile)
    assert all(line.startswith("skipped: found/") for line in err.splitlines())


def test_many_damaged_files_are_counted(stepbench, tmp_path):
    for number in range(14):
        (tmp_path / f"{number}.json").write_text("")
    code, _, err = stepbench("ingest", tmp_path)
    assert code == 2
    assert err.splitlines()[-1] == "skipped: 4 more files"


def test_a_file_of_which_nothing_is_a_record_is_read_and_kept(stepbench, folder, tmp_path):
    (path,) = (folder / "asv/bench-1").glob("1007*.json")
    content = json.loads(path.read_text())
    content["results"] = {"a.time_x": [[math.nan], []]}
    path.write_text(json.dumps(content))
    code, out, _ = stepbench("ingest", path)
    assert (code, out.splitlines()[0]) == (0, "0 records from 1 file")
    assert "no record for 1 benchmark, asv: " in out
    assert list((tmp_path / "results/records").rglob("*.side.ndjson"))


def test_nothing_to_read_and_nothing_there(stepbench, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = stepbench("ingest", "empty")
    assert code == 4
    assert "no file that ends in .json in empty" in err
    code, _, err = stepbench("ingest", "missing.json")
    assert code == 2
    assert "missing.json: there is no such file" in err
    (tmp_path / "file").write_text("")
    code, _, err = stepbench("ingest", DATA, "--results", "file")
    assert code == 2
    assert "--results file cannot be made" in err


def test_no_torch_is_needed():
    code = "import sys, stepbench.ingest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
