"""Records in files: appended one line at a time, scanned with damaged lines set aside."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from bench.data.environment import Environment
from bench.data.record import Record
from bench.errors import InvalidRecord, ResultsUnwritable
from bench.store.codec import decode, encode
from bench.store.whole import make, sync

# No file system takes names of more than 255 bytes.
LONGEST_NAME = 100


class Storable(Protocol):
    """What a line can hold: anything that says where it was made."""

    @property
    def environment(self) -> Environment:
        """The environment that it was made in."""
        ...


Line = TypeVar("Line")


@dataclass(frozen=True)
class DamagedLine:
    """A line that is no record, with its place and the reason."""

    path: Path
    number: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.number}: {self.reason}"


class RecordFile:
    """The file of one run, `<folder>/<host>/<commit8>-<utc>-<run>.jsonl`: append-only, made with its first record.

    Each record is written in one piece and synced before `append` returns: whatever kills the process after that,
    the record is there; what is killed inside it leaves at most one cut line at the end. `to_line` writes records of
    another kind.
    """

    def __init__(self, folder: Path, *, run: str, created: str, to_line: Callable[[Any], bytes] = encode) -> None:
        self._folder = folder
        self._to_line = to_line
        self._run = run
        self._created = created
        self._descriptor: int | None = None
        self.path: Path | None = None
        check(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def append(self, record: Storable) -> None:
        """Writes one record; raises ResultsUnwritable when the disk is full or the folder is gone."""
        line = self._to_line(record)
        try:
            if self._descriptor is None:
                self._descriptor = self._open(record)
            _write(self._descriptor, line)
        except OSError as error:
            raise ResultsUnwritable(
                f"{self.path or self._folder} cannot be written: {error.strerror}; free some space or choose another "
                "folder with --results"
            ) from error

    def _open(self, record: Storable) -> int:
        path = place(self._folder, record.environment, created=self._created, run=self._run)
        make(path.parent)
        self.path = path
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)
        sync(self.path.parent)
        return descriptor


def check(folder: Path) -> None:
    """Makes a results folder; raises ResultsUnwritable, before anything is measured, where nothing can be stored."""
    try:
        make(folder)
    except OSError as error:
        message = f"--results {folder} cannot be made: {error.strerror}; choose another folder"
        raise ResultsUnwritable(message) from error
    try:
        # Permissions, quotas, read-only and full file systems all show only when a file is made.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ResultsUnwritable(
            f"--results {folder} cannot be written: {error.strerror}; choose another folder"
        ) from error


def place(folder: Path, environment: Environment, *, created: str, run: str) -> Path:
    """Returns where the records of a run belong; see `RecordFile`."""
    commit = _safe((environment.commit or "nocommit")[:8])
    moment = re.sub(r"[-:]|\+00:00$", "", created) + "Z"
    return folder / (_safe(environment.host) or "host") / f"{commit}-{moment}-{run}.jsonl"


def _safe(name: str) -> str:
    """Returns a part of a file's name that leads nowhere else; names may come from other tools' files."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".")[:LONGEST_NAME]


def _write(descriptor: int, line: bytes) -> None:
    written = os.write(descriptor, line)
    if written != len(line):
        # A cut line would swallow the one that is appended to it.
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - written)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(descriptor)


def scan(paths: Iterable[Path]) -> tuple[tuple[Record, ...], tuple[DamagedLine, ...]]:
    """Reads all records below some files and folders, oldest run first, and the lines that are none.

    Raises InvalidRecord for a path that does not exist.
    """
    records, damaged = scan_lines(paths, decode)
    return tuple(sorted(records, key=lambda record: record.created)), damaged


def scan_lines(
    paths: Iterable[Path], from_line: Callable[[bytes], Line]
) -> tuple[tuple[Line, ...], tuple[DamagedLine, ...]]:
    """Reads every line of some files and folders in the order of their names, and sets those aside that are no record.

    Raises InvalidRecord for a path that does not exist.
    """
    records: list[Line] = []
    damaged: list[DamagedLine] = []
    for path in _files(paths):
        try:
            lines = path.read_bytes().split(b"\n")
        except OSError as error:
            damaged.append(DamagedLine(path, 0, f"cannot be read: {error.strerror}"))
            continue
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                records.append(from_line(line))
            except InvalidRecord as error:
                damaged.append(DamagedLine(path, number, str(error)))
    return tuple(records), tuple(damaged)


def _files(paths: Iterable[Path]) -> list[Path]:
    files: dict[str, Path] = {}
    for path in paths:
        if not path.exists():
            raise InvalidRecord(f"{path} does not exist; give a file or a folder of records")
        for file in sorted(path.rglob("*.jsonl")) if path.is_dir() else [path]:
            # Links in a circle lead nowhere; resolve() raises for them, and reading them says so.
            files.setdefault(os.path.realpath(file), file)
    return list(files.values())
