from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.errors import InvalidRecord, ResultsUnwritable
from bench.store.codec import encode
from bench.store.jsonl import RecordFile, scan
from tests.strategies import records

CREATED = "2026-11-21T06:33:35+00:00"


def opened(folder):
    return RecordFile(Path(folder), run="abcd1234", created=CREATED)


@settings(max_examples=25)
@given(st.lists(records, min_size=1, max_size=4))
def test_what_is_appended_is_scanned_oldest_first(tmp_path_factory, written):
    folder = tmp_path_factory.mktemp("results")
    with opened(folder) as file:
        for record in written:
            file.append(record)
    found, damaged = scan([folder])
    assert damaged == ()
    assert sorted(map(encode, found)) == sorted(map(encode, written))
    assert [record.created for record in found] == sorted(record.created for record in written)


@given(record=records, host=st.text(min_size=1, max_size=30))
@settings(max_examples=25)
def test_a_file_is_named_by_host_commit_time_and_run_with_safe_characters(tmp_path_factory, record, host):
    folder = tmp_path_factory.mktemp("results")
    with opened(folder) as file:
        file.append(replace(record, environment=replace(record.environment, host=host)))
    path = file.path.relative_to(folder)
    assert len(path.parts) == 2
    assert all(char.isascii() and (char.isalnum() or char in "._-") for char in "".join(path.parts))
    commit = (record.environment.commit or "nocommit")[:8]
    assert path.name == f"{commit}-20261121T063335Z-abcd1234.jsonl"


@settings(max_examples=25)
@given(first=records, second=records, share=st.floats(0.01, 0.99))
def test_a_cut_line_is_reported_with_its_place_and_loses_no_other(tmp_path_factory, first, second, share):
    path = tmp_path_factory.mktemp("results") / "run.jsonl"
    line = encode(second)
    path.write_bytes(encode(first) + b"\n" + line[: max(1, int(share * (len(line) - 1)))])
    found, (damage,) = scan([path])
    assert found == (first,)
    assert str(damage).startswith(f"{path}:3: no JSON")


def test_nothing_is_made_before_the_first_record_but_the_folder(tmp_path):
    with opened(tmp_path / "a/b"):
        pass
    assert list((tmp_path / "a/b").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error_before_anything_is_measured(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsUnwritable, match=r"--results .*file/below cannot be made: Not a directory"):
        opened(tmp_path / "file/below")


def test_a_folder_that_cannot_be_written_is_an_error_before_anything_is_measured():
    # Nobody, root included, can make a file there.
    with pytest.raises(ResultsUnwritable, match=r"--results /proc cannot be written: .*; choose another folder"):
        opened("/proc")


def test_a_disk_that_fills_up_is_an_error_and_leaves_no_cut_line(tmp_path, record, monkeypatch):
    write = os.write
    with opened(tmp_path) as file:
        file.append(record)
        with monkeypatch.context() as full:
            full.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:9]))
            with pytest.raises(ResultsUnwritable, match=r"\.jsonl cannot be written: No space left .*--results"):
                file.append(record)
        file.append(record)
    assert scan([tmp_path]) == ((record, record), ())


def test_a_folder_that_is_gone_is_an_error(tmp_path, record):
    with opened(tmp_path / "a") as file:
        (tmp_path / "a").rmdir()
        (tmp_path / "a").write_text("")
        with pytest.raises(ResultsUnwritable, match="a cannot be written"):
            file.append(record)


def test_records_are_synced_and_so_are_the_folders_made_for_them(tmp_path, record, monkeypatch):
    synced = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(Path(f"/proc/self/fd/{fd}").readlink()), sync(fd)))
    with opened(tmp_path / "a/b") as file:
        assert set(synced) == {tmp_path, tmp_path / "a"}
        synced.clear()
        file.append(record)
        assert synced == [tmp_path / "a/b", tmp_path / "a/b/h", file.path]
        file.append(record)
        assert synced[3:] == [file.path]


def test_a_run_never_writes_into_the_file_of_another(tmp_path, record):
    with opened(tmp_path) as file:
        file.append(record)
    with opened(tmp_path) as again, pytest.raises(ResultsUnwritable, match="File exists"):
        again.append(record)


def test_a_path_that_is_not_there_is_an_error_and_a_folder_that_is_empty_is_not(tmp_path):
    with pytest.raises(InvalidRecord, match="does not exist"):
        scan([tmp_path / "missing"])
    assert scan([tmp_path]) == ((), ())


def test_a_file_found_twice_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"x\n")
    monkeypatch.chdir(tmp_path)
    assert len(scan([tmp_path, path, Path("run.jsonl")])[1]) == 1


def test_a_file_that_cannot_be_read_is_reported_and_loses_no_other(tmp_path, record):
    (tmp_path / "loop.jsonl").mkdir()
    (tmp_path / "run.jsonl").write_bytes(encode(record))
    found, (damage,) = scan([tmp_path])
    assert found == (record,)
    assert str(damage) == f"{tmp_path}/loop.jsonl:0: cannot be read: Is a directory"


WRITER = """
import sys
from pathlib import Path
from bench.store.codec import decode
from bench.store.jsonl import RecordFile

record = decode(sys.stdin.buffer.readline())
with RecordFile(Path(sys.argv[1]), run="abcd1234", created="2026-11-21T06:33:35+00:00") as file:
    while True:
        file.append(record)
        print("stored", flush=True)
"""


@pytest.mark.parametrize("seed", range(5))
def test_kill_9_at_any_moment_leaves_every_finished_record_readable(tmp_path, record, seed):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    # A long record makes it likely that the end comes in the middle of one.
    process.stdin.write(encode(replace(record, sources={str(n): "f" * 64 for n in range(5000)})))
    process.stdin.close()
    chance = random.Random(seed)
    wanted = chance.randint(1, 30)
    acknowledged = sum(process.stdout.readline() == b"stored\n" for _ in range(wanted))
    time.sleep(chance.uniform(0, 0.01))
    process.kill()
    acknowledged += process.stdout.read().count(b"stored\n")
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    found, damaged = scan([tmp_path])
    assert len(found) >= acknowledged >= wanted
    assert len(damaged) <= 1


RUN = """
import sys
from dataclasses import replace
from pathlib import Path
from bench.store.codec import decode
from bench.store.jsonl import RecordFile

record = decode(sys.stdin.buffer.readline())
sys.stdin.buffer.readline()
with RecordFile(Path(sys.argv[1]), run=sys.argv[2], created="2026-11-21T06:33:35+00:00") as file:
    for number in range(50):
        file.append(replace(record, run=sys.argv[2], created=f"{number:04d}"))
"""


def test_two_runs_that_write_into_one_folder_at_once_lose_nothing(tmp_path, record):
    """Each has a file of its own, also of one commit in one second; both make the folders that are not there yet."""
    folder = tmp_path / "results/records"
    runs = [
        subprocess.Popen([sys.executable, "-c", RUN, str(folder), name], stdin=subprocess.PIPE)
        for name in ("aaaaaaaa", "bbbbbbbb")
    ]
    for run in runs:
        run.stdin.write(encode(record))
        run.stdin.flush()
    for run in runs:
        run.stdin.close()
    assert [run.wait() for run in runs] == [0, 0]
    found, damaged = scan([folder])
    assert damaged == ()
    assert sorted((each.run, each.created) for each in found) == [
        (name, f"{number:04d}") for name in ("aaaaaaaa", "bbbbbbbb") for number in range(50)
    ]
