"""From files of other tools to records in the results folder, and beside them what a record has no place for."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.errors import InvalidRecord
from bench.store import strict
from bench.store.adapters import asv, pytest_benchmark
from bench.store.adapters.foreign import Ingested
from bench.store.codec import encode
from bench.store.jsonl import check, place
from bench.store.whole import write_whole

# What asv keeps beside its results; they are read with these.
COMPANIONS = frozenset({"benchmarks.json", "machine.json"})
SIDE = ".side.ndjson"


def files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yields files that are named, and below folders all that end in .json and are no companions, each once."""
    met = set()
    for path in paths:
        found = sorted(path.rglob("*.json")) if path.is_dir() else [path]
        for file in found:
            companion = path.is_dir() and file.name in COMPANIONS
            # Links in a circle lead nowhere; resolve() raises for them.
            real = os.path.realpath(file)
            if not companion and real not in met and (file == path or file.is_file()):
                met.add(real)
                yield file


def read(path: Path) -> Ingested:
    """Returns what a file of asv or pytest-benchmark holds; raises InvalidRecord, on one line, for what is neither."""
    data = strict.content(path)
    content = strict.decode(data, str(path), finite=False)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        if asv.is_asv(content):
            return asv.convert(content, file=path.name, sha256=sha256, benchmarks=_benchmarks(path))
        if pytest_benchmark.is_pytest_benchmark(content):
            return pytest_benchmark.convert(content, file=path.name, sha256=sha256)
    except InvalidRecord as error:
        raise InvalidRecord(f"{path}: {error}") from error
    raise InvalidRecord(f"{path}: neither results of asv nor of pytest-benchmark")


def known(folder: Path) -> dict[str, Path]:
    """Returns the files of records in a results folder that were read from others, by the SHA-256 of these.

    Only a side file says so: a name that looks like one of these files may be anybody's.
    """
    found = {}
    for side in folder.glob(f"*/*{SIDE}"):
        try:
            with side.open("rb") as file:
                about = json.loads(file.readline())
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(about, dict) and isinstance(about.get("sha256"), str):
            found[about["sha256"]] = side.with_name(side.name.removesuffix(SIDE) + ".jsonl")
    return found


def store(folder: Path, ingested: Ingested, there: dict[str, Path]) -> bool:
    """Writes records as a run of their own and the side file beside them; says whether they were not there before.

    A file's run is named by its content, so that the same file gives the same run. One that was cut off is written
    anew; nothing else is ever replaced: raises InvalidRecord where others' files have the names. Without any record the
    side file stands alone. `there` is what `known` returned.
    """
    path = there.get(ingested.sha256)
    records = _content(path) if path is not None else b""
    if path is not None and _is_whole(records, path, ingested):
        return False
    if path is None or not _is_own(records, ingested):
        path = _place(folder, ingested)
    # Records come last: where they are, all is there.
    write_whole(path.with_suffix(SIDE), b"".join(_side_lines(ingested)))
    if ingested.records:
        write_whole(path, b"".join(map(encode, ingested.records)))
    there[ingested.sha256] = path
    return True


def _is_whole(records: bytes, path: Path, ingested: Ingested) -> bool:
    """Says whether both files of a run are there with as many lines as they should have, all from the same file."""
    sides = _content(path.with_suffix(SIDE)).count(b"\n")
    return (
        _is_own(records, ingested)
        and records.endswith(b"\n" if ingested.records else b"")
        and (sides, records.count(b"\n")) == (1 + len(ingested.sides), len(ingested.records))
    )


def _is_own(records: bytes, ingested: Ingested) -> bool:
    """Says whether all whole lines of a file are records from the file at hand; its last line may have been cut off."""
    mark = f'"sha256":"{ingested.sha256}"'.encode()
    return all(mark in line for line in records.split(b"\n")[:-1])


def _place(folder: Path, ingested: Ingested) -> Path:
    """Returns a path for records at which nobody else's are."""
    check(folder)
    environment = ingested.records[0].environment if ingested.records else ingested.environment
    for run in (ingested.run, ingested.sha256):
        path = place(folder, environment, created=ingested.created, run=run)
        if not path.exists():
            return path
        records = _content(path)
        if b"\n" in records and _is_own(records, ingested):
            return path
    raise InvalidRecord(f"{ingested.file}: {path} stands where its records belong, and has others; move that one away")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _side_lines(ingested: Ingested) -> Iterator[bytes]:
    about = {"tool": ingested.tool, "file": ingested.file, "sha256": ingested.sha256, "rest": ingested.rest}
    for entry in (about, *map(msgspec.to_builtins, ingested.sides)):
        yield json.dumps(_storable(entry), allow_nan=False).encode() + b"\n"


def _storable(value: Any) -> Any:
    """Returns a value in which numbers that JSON does not have are texts, as Python writes them."""
    if isinstance(value, dict):
        return {key: _storable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_storable(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _benchmarks(path: Path) -> dict[str, Any]:
    """Returns asv's benchmarks.json where it stands beside the folder of the machine; damaged, it is as if missing."""
    try:
        found = strict.read(path.resolve().parent.parent / "benchmarks.json", finite=False)
    except InvalidRecord:
        return {}
    return found if isinstance(found, dict) else {}
