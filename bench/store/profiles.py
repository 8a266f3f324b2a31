"""Profiles as a document: JSON with a schema version, written whole and read back with care."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.data.profile import PROFILE_SCHEMA, Profile
from bench.errors import InvalidRecord, StepbenchError

KIND = "profiles"
# The difference of two profiles holds both.
KINDS = (KIND, "profile-diff")
# A profile of every line of a large model has a few megabytes; what is much larger is something else.
MOST_BYTES = 1 << 28


class _Schema(msgspec.Struct):
    schema: int


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    schema: int
    kind: str
    profiles: list[Profile]


def encode(profiles: Sequence[Profile]) -> str:
    """Returns profiles as `{"schema", "kind": "profiles", "profiles"}`; times in seconds."""
    return msgspec.json.encode(_Document(schema=PROFILE_SCHEMA, kind=KIND, profiles=list(profiles))).decode()


def read(path: Path) -> list[Profile]:
    """Reads a document of profiles; raises InvalidRecord for what is none, and for one of a newer schema."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InvalidRecord(f"{path}: larger than {MOST_BYTES >> 20} MB; no document of profiles is")
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRecord(
            f"{path}: {error.strerror}; `stepbench profile lines VARIANT --json PATH` writes one"
        ) from error
    try:
        schema = msgspec.json.decode(content, type=_Schema).schema
        if schema > PROFILE_SCHEMA:
            raise InvalidRecord(
                f"{path}: schema {schema} is newer than {PROFILE_SCHEMA}, the newest known here; update stepbench"
            )
        if schema < 1:
            raise InvalidRecord(f"{path}: schema {schema}; they are counted from 1")
        document = msgspec.json.decode(content, type=_Document)
    except StepbenchError as error:
        raise error if isinstance(error, InvalidRecord) else InvalidRecord(f"{path}: {error}") from error
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InvalidRecord(f"{path}: no document of profiles ({error})") from error
    if document.kind not in KINDS:
        raise InvalidRecord(f"{path}: a document of kind {document.kind!r}; profiles are in {' and '.join(KINDS)}")
    if not document.profiles:
        raise InvalidRecord(f"{path}: {document.kind} without a profile; profile again")
    return document.profiles
