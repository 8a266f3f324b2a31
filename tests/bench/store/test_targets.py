from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.target import TARGET_SCHEMA
from bench.errors import InvalidRecord
from bench.store.jsonl import RecordFile, scan_lines
from bench.store.targets import decode, encode
from tests.trainings import mixed, record, training


@given(st.lists(st.floats(0, 1), max_size=5), st.none() | st.text())
def test_a_line_reads_back_as_what_was_written(shares, failure):
    made = record(training("sgd", 1, *shares, failure=failure))
    assert decode(encode(made)) == made


def test_a_failure_of_other_bytes_is_written_with_escapes():
    assert decode(encode(record(training("sgd", 1, failure="\udcff.py")))).training.failure == "\\udcff.py"


def test_what_is_appended_is_found_again_and_a_cut_line_costs_no_other(tmp_path):
    with RecordFile(tmp_path, run="r", created="2026-01-02T03:04:05+00:00", to_line=encode) as file:
        for one in mixed():
            file.append(one)
    assert file.path.name == "01234567-20260102T030405Z-r.jsonl"
    file.path.write_bytes(file.path.read_bytes()[:-20])
    found, damaged = scan_lines([tmp_path], decode)
    assert list(found) == mixed()[:-1]
    assert len(damaged) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": TARGET_SCHEMA + 1}, "is newer than"),
        ({"kind": "report"}, "no training to a target; `stepbench measure --until` writes them"),
        ({"training": None}, "no training to a target"),
    ],
)
def test_what_is_no_training_is_refused_on_one_line(change, says):
    line = msgspec.json.encode(msgspec.json.decode(encode(mixed()[0])) | change)
    with pytest.raises(InvalidRecord, match=says) as caught:
        decode(line)
    assert "\n" not in str(caught.value)
