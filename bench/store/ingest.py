"""From files of other tools to records in the results folder, and beside them what a record has no place for."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from bench.errors import InvalidRecord, ResultsUnwritable
from bench.store import strict
from bench.store.adapters import asv, pytest_benchmark
from bench.store.adapters.foreign import Ingested
from bench.store.jsonl import RecordFile

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
            if not companion and file.resolve() not in met and (file == path or file.is_file()):
                met.add(file.resolve())
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
    """Returns the files of records in a results folder by their run."""
    return {path.stem.rpartition("-")[2]: path for path in folder.glob("*/*.jsonl")}


def store(folder: Path, ingested: Ingested, there: dict[str, Path]) -> bool:
    """Writes records as a run of their own and the side file beside them; says whether they were not there before.

    A file's run is named by its content, so that the same file gives the same run. One that was cut off is written
    anew. `there` is what `known` returned.
    """
    path = there.get(ingested.run)
    if path is not None and path.with_suffix(SIDE).exists() and _count(path) == len(ingested.records):
        return False
    if path is not None:
        path.unlink(missing_ok=True)
    with RecordFile(folder, run=ingested.run, created=ingested.created) as file:
        for record in ingested.records:
            file.append(record)
    assert file.path is not None
    there[ingested.run] = file.path
    side = file.path.with_suffix(SIDE)
    try:
        side.write_bytes(b"".join(_side_lines(ingested)))
    except OSError as error:
        raise ResultsUnwritable(f"{side}: {error.strerror}; choose another folder with --results") from error
    return True


def _count(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


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
