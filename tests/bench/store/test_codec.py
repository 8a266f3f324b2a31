from __future__ import annotations

import contextlib
import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.measurement import Counters
from bench.data.record import SCHEMA_VERSION
from bench.errors import InvalidRecord
from bench.store import codec
from bench.store.codec import decode, encode
from tests.strategies import records


@given(records)
def test_a_record_is_one_line_and_reads_back_as_it_was(record):
    line = encode(record)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert decode(line) == record


@given(records)
def test_values_that_are_not_finite_become_null(record):
    wild = Counters(values={"loss": math.nan, "peak": math.inf, "fine": 1.0})
    found = decode(encode(replace(record, measurement=replace(record.measurement, counters=wild))))
    assert found.measurement.counters.values == {"loss": None, "peak": None, "fine": 1.0}


@given(record=records, text=st.text(st.characters(categories=["L", "Cs"]), max_size=9))
def test_text_without_utf_8_loses_no_measurement(record, text):
    changed = replace(record, measurement=replace(record.measurement, failure=text))
    found = decode(encode(changed))
    assert found.measurement.failure == text.encode("utf-8", "backslashreplace").decode()
    assert replace(found, measurement=replace(found.measurement, failure=text)) == changed


@pytest.fixture
def raw(record):
    return json.loads(encode(record))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda raw: raw.pop("schema"), "no schema number"),
        (lambda raw: raw.update(schema="1"), "no schema number"),
        (
            lambda raw: raw.update(schema=SCHEMA_VERSION + 1),
            f"schema {SCHEMA_VERSION + 1} is newer than {SCHEMA_VERSION}",
        ),
        (lambda raw: raw.update(schema=0), "schema 0 has no migration"),
        (lambda raw: raw.pop("run"), "run"),
        (lambda raw: raw["measurement"].pop("variant"), "variant"),
        (lambda raw: raw["measurement"]["variant"].update(batch=0), "batch=0"),
        (lambda raw: raw["measurement"]["variant"].update(batch="1"), r"\$\.measurement\.variant\.batch"),
        (lambda raw: raw["environment"].update(cores=None), r"\$\.environment\.cores"),
    ],
)
def test_a_line_that_is_no_record_says_where_it_is_wrong(raw, change, says):
    change(raw)
    with pytest.raises(InvalidRecord, match=says) as raised:
        decode(json.dumps(raw).encode())
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'"text"', b'{"schema": 1', b'{"schema": 1e999}', b"[" * 100_000,
        b"\0" * 9, b'{"schema": ' + b"9" * 5000 + b"}",
    ],
)  # fmt: skip
def test_a_line_that_is_no_object_is_an_error(line):
    with pytest.raises(InvalidRecord):
        decode(line)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(record=records, value=values, data=st.data())
def test_a_field_changed_to_anything_gives_a_record_or_an_invalid_one(record, value, data):
    raw = json.loads(encode(record))
    place = raw
    for _ in range(data.draw(st.integers(0, 2))):
        below = sorted(key for key in place if isinstance(place[key], dict) and place[key])
        place = place[data.draw(st.sampled_from(below))] if below else place
    place[data.draw(st.sampled_from(sorted(place)))] = value
    with contextlib.suppress(InvalidRecord):
        found = decode(json.dumps(raw).encode())
        assert decode(encode(found)) == found


def test_fields_that_are_not_known_are_passed_over(raw):
    raw["later"] = 1
    raw["measurement"]["later"] = {}
    assert decode(json.dumps(raw).encode()).run == "r"


def test_an_older_schema_is_migrated_step_by_step(raw, monkeypatch):
    def from_minus_one(old):
        return old | {"run": old["identity"]}

    older = {-1: from_minus_one, 0: lambda old: old | {"created": "then"}}
    monkeypatch.setattr(codec, "MIGRATIONS", codec.MIGRATIONS | older)
    raw["schema"], raw["identity"] = -1, raw.pop("run")
    found = decode(json.dumps(raw).encode())
    assert (found.schema, found.run, found.created) == (SCHEMA_VERSION, "r", "then")
    del raw["identity"]
    with pytest.raises(InvalidRecord, match=r"no record of its schema -1 \(KeyError\('identity'\)\)"):
        decode(json.dumps(raw).encode())


def test_a_line_of_schema_2_is_of_one_rank(raw):
    raw["schema"] = 2
    del raw["measurement"]["variant"]["ranks"]
    found = decode(json.dumps(raw).encode())
    assert (found.schema, found.measurement.variant.ranks) == (SCHEMA_VERSION, 1)


def test_a_line_of_schema_1_is_what_stepbench_itself_measured(raw):
    raw["schema"] = 1
    del raw["origin"]
    found = decode(json.dumps(raw).encode())
    assert (found.schema, found.origin) == (SCHEMA_VERSION, None)
