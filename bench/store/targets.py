"""Trainings to a target in files: one line of JSON each, encoded and strictly decoded."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from bench.data.target import TARGET_SCHEMA, TargetRecord
from bench.errors import InvalidRecord, StepbenchError

KIND = "target"


class _Head(msgspec.Struct):
    kind: str = ""
    schema: int = 0


def encode(record: TargetRecord) -> bytes:
    """Returns a record as one line of UTF-8 JSON with its newline; a failure's text that has no UTF-8 is escaped."""
    if record.training.failure is not None:
        printable = record.training.failure.encode("utf-8", "backslashreplace").decode()
        record = replace(record, training=replace(record.training, failure=printable))
    return msgspec.json.encode(record) + b"\n"


def decode(line: bytes) -> TargetRecord:
    """Reads one line back; raises InvalidRecord for what is none, and for one of a newer schema."""
    try:
        head = msgspec.json.decode(line, type=_Head)
        found = msgspec.json.decode(line, type=TargetRecord) if _known(head) else None
    except (msgspec.DecodeError, RecursionError, StepbenchError, ValueError) as error:
        raise InvalidRecord(f"no training to a target ({error}); the line was cut off or changed") from error
    if head.kind != KIND:
        raise InvalidRecord("no training to a target; `stepbench measure --until` writes them")
    if found is None:
        raise InvalidRecord(
            f"schema {head.schema} is newer than {TARGET_SCHEMA}, the newest known here; update stepbench"
        )
    return found


def _known(head: _Head) -> bool:
    return head.kind == KIND and head.schema <= TARGET_SCHEMA
