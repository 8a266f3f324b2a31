from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given

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


@pytest.fixture
def raw():
    return json.loads(encode(_record()))


def _record():
    from bench.data.environment import Environment
    from bench.data.measurement import Measurement
    from bench.data.protocol import Protocol
    from bench.data.record import Record
    from bench.data.variant import Variant

    environment = Environment(
        host="h", commit=None, dirty=False, python="3", torch="2", stepbench="0", platform="p", cpu="c", cores=2,
        memory_bytes=1, gpu=None, threads=1, wait_policy="passive", clock="k", clock_resolution=1e-9,
    )  # fmt: skip
    measurement = Measurement(variant=Variant(model="m", optimizer="o"), protocol=Protocol(), phases=("forward",))
    return Record(schema=1, run="r", created="2026", measurement=measurement, environment=environment, sources={})


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


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'"text"', b'{"schema": 1'])
def test_a_line_that_is_no_object_is_an_error(line):
    with pytest.raises(InvalidRecord):
        decode(line)


def test_fields_that_are_not_known_are_passed_over(raw):
    raw["later"] = 1
    raw["measurement"]["later"] = {}
    assert decode(json.dumps(raw).encode()).run == "r"


def test_an_older_schema_is_migrated_step_by_step(raw, monkeypatch):
    def from_minus_one(old):
        return old | {"schema": 0, "run": old["identity"]}

    monkeypatch.setattr(codec, "MIGRATIONS", {-1: from_minus_one, 0: lambda old: old | {"schema": 1}})
    raw["schema"], raw["identity"] = -1, raw.pop("run")
    assert decode(json.dumps(raw).encode()).run == "r"
