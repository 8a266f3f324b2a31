from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
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


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ResultsUnwritable, match="cannot be written; choose another"):
        opened(tmp_path)


def test_a_path_that_is_not_there_is_an_error_and_a_folder_that_is_empty_is_not(tmp_path):
    with pytest.raises(InvalidRecord, match="does not exist"):
        scan([tmp_path / "missing"])
    assert scan([tmp_path]) == ((), ())


def test_a_file_found_twice_is_read_once(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"x\n")
    assert len(scan([tmp_path, path])[1]) == 1


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
def test_kill_9_at_any_moment_leaves_every_finished_record_readable(tmp_path, seed):
    from tests.bench.store.test_codec import _record

    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.write(encode(_record()))
    process.stdin.close()
    wanted = random.Random(seed).randint(1, 30)
    acknowledged = sum(process.stdout.readline() == b"stored\n" for _ in range(wanted))
    process.kill()
    acknowledged += process.stdout.read().count(b"stored\n")
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    found, damaged = scan([tmp_path])
    assert len(found) >= acknowledged >= wanted
    assert len(damaged) <= 1
