"""What reading others' files leaves in the results folder, and what it leaves alone."""

from __future__ import annotations

import json
import math
import shutil

import pytest

from bench.errors import InvalidRecord
from bench.store import ingest
from bench.store.codec import encode
from bench.store.jsonl import scan
from tests.bench.store.test_ingest import ASV, DATA, FILES, changed


def test_stored_records_read_back_and_a_second_time_changes_nothing(tmp_path):
    there = ingest.known(tmp_path)
    for path in FILES:
        assert ingest.store(tmp_path, ingest.read(path), there)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for path in FILES:
        assert not ingest.store(tmp_path, ingest.read(path), ingest.known(tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    records, damaged = scan([tmp_path])
    assert damaged == ()
    assert len(records) == sum(len(ingest.read(path).records) for path in FILES)
    for side in tmp_path.rglob(f"*{ingest.SIDE}"):
        assert all(json.loads(line) for line in side.read_text().splitlines())


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "..", "\\x", "a\nb", "x" * 5000])
def test_no_name_in_a_file_leads_out_of_the_results_folder(tmp_path, name):
    def plant(content):
        content["commit_hash"] = content["env_name"] = content["params"]["machine"] = name

    folder = tmp_path / "below/results"
    found = ingest.read(changed(tmp_path, plant))
    ingest.store(folder, found, ingest.known(folder))
    assert {path.parent.parent for path in tmp_path.rglob("*.jsonl")} == {folder}
    assert found.records[0].environment.commit is None
    assert found.rest["commit_hash"] == name


def test_a_run_that_was_cut_off_is_written_anew(tmp_path):
    there = ingest.known(tmp_path)
    ingest.store(tmp_path, ingest.read(ASV), there)
    (path,) = there.values()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert ingest.store(tmp_path, ingest.read(ASV), ingest.known(tmp_path))
    assert path.read_bytes() == whole


def test_no_file_of_anybody_else_is_replaced_whatever_its_name(tmp_path, record):
    ingested = ingest.read(ASV)
    ingest.store(tmp_path, ingested, ingest.known(tmp_path))
    (path,) = tmp_path.rglob("*.jsonl")
    (side,) = tmp_path.rglob(f"*{ingest.SIDE}")
    side.unlink()
    measured = path.with_name(f"measured-20260101T000000Z-{ingested.run}.jsonl")
    for place in (path, measured):
        place.write_bytes(encode(record) * len(ingested.records))
    assert ingest.store(tmp_path, ingested, ingest.known(tmp_path))
    assert path.read_bytes() == measured.read_bytes() == encode(record) * len(ingested.records)
    assert len(scan([tmp_path])[0]) == 3 * len(ingested.records)
    assert not ingest.store(tmp_path, ingested, ingest.known(tmp_path))


def test_a_side_file_that_was_copied_makes_nobody_elses_records_ours(tmp_path, record):
    ingested = ingest.read(ASV)
    ingest.store(tmp_path, ingested, ingest.known(tmp_path))
    (path,) = tmp_path.rglob("*.jsonl")
    path.write_bytes(encode(record) * len(ingested.records))
    assert ingest.store(tmp_path, ingested, ingest.known(tmp_path))
    assert path.read_bytes() == encode(record) * len(ingested.records)


def test_two_that_read_the_same_files_at_once_lose_nothing(tmp_path):
    """Both have looked at the folder before either has written."""
    first, second = ingest.known(tmp_path), ingest.known(tmp_path)
    for path in FILES:
        for there in (first, second):
            assert ingest.store(tmp_path, ingest.read(path), there)
    records, damaged = scan([tmp_path])
    assert (len(records), damaged) == (sum(len(ingest.read(path).records) for path in FILES), ())
    assert not list(tmp_path.rglob("*.part"))


def test_a_file_without_any_record_is_kept_whole_beside_none(tmp_path):
    def none(content):
        content["results"] = {"a.time_x": [[math.nan], []]}

    folder, path = tmp_path / "results", changed(tmp_path, none)
    assert ingest.store(folder, ingest.read(path), ingest.known(folder))
    (side,) = folder.rglob("*.ndjson")
    assert json.loads(side.read_text().splitlines()[1])["rest"] == {"result": "nan"}
    assert not list(folder.rglob("*.jsonl"))
    assert not ingest.store(folder, ingest.read(path), ingest.known(folder))


def test_links_in_a_circle_are_no_files(tmp_path):
    for name in ("circle.json", "circle.jsonl"):
        (tmp_path / name).symlink_to(name)
    assert list(ingest.files([tmp_path])) == []
    with pytest.raises(InvalidRecord, match="no such file"):
        ingest.read(next(iter(ingest.files([tmp_path / "circle.json"]))))
    assert "symbolic links" in str(scan([tmp_path])[1][0])


def test_folders_are_searched_and_companions_passed_by(tmp_path):
    shutil.copytree(DATA / "asv", tmp_path / "asv")
    assert [path.name for path in ingest.files([tmp_path, tmp_path / "asv"])] == [ASV.name]
