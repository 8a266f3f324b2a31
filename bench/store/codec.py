"""One record, one line of JSON: encoding, strict decoding, and migrations between schemas."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from bench.data.record import SCHEMA_VERSION, Record
from bench.errors import InvalidRecord, StepbenchError

# schema -> function that turns a decoded line of that schema into one of the next; `decode` sets its number.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    # Before that, only stepbench's own measurements were stored.
    1: lambda raw: raw | {"origin": None},
    # A variant without the axis `ranks` has one.
    2: lambda raw: raw,
}


def encode(record: Record) -> bytes:
    """Returns a record as one line of UTF-8 JSON with its newline; values that are not finite become null.

    Text that has no UTF-8 (an error that quotes a file name of other bytes) is written with backslash escapes.
    """
    counters = record.measurement.counters
    finite = {name: value if _is_finite(value) else None for name, value in counters.values.items()}
    measurement = replace(record.measurement, counters=replace(counters, values=finite))
    finite_record = replace(record, measurement=measurement)
    try:
        return msgspec.json.encode(finite_record) + b"\n"
    except UnicodeEncodeError:
        return msgspec.json.encode(_printable(msgspec.to_builtins(finite_record))) + b"\n"


def decode(line: bytes) -> Record:
    """Reads one line back, an older schema after migration.

    Fields that are not known are ignored, so that a later minor version may add some; a missing one or a wrong type
    raises InvalidRecord with its place, as does a schema that is newer than this version.
    """
    try:
        raw = msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRecord(f"no JSON ({error}); the line was cut off or changed") from error
    schema = raw.get("schema") if isinstance(raw, dict) else None
    if not isinstance(schema, int):
        raise InvalidRecord("no record: it has no schema number")
    if schema > SCHEMA_VERSION:
        raise InvalidRecord(f"schema {schema} is newer than {SCHEMA_VERSION}, the newest known here; update stepbench")
    while schema < SCHEMA_VERSION:
        if schema not in MIGRATIONS:
            raise InvalidRecord(f"schema {schema} has no migration to {SCHEMA_VERSION}; measure again")
        try:
            raw = MIGRATIONS[schema](raw)
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidRecord(f"no record of its schema {schema} ({error!r}); the line was changed") from error
        schema += 1
        raw["schema"] = schema
    try:
        return msgspec.convert(raw, Record)
    except (msgspec.ValidationError, StepbenchError, ValueError) as error:
        raise InvalidRecord(str(error)) from error


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(item) for item in value]
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
