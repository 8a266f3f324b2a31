"""Files that are there in one piece or not at all, whatever kills the process that writes them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from bench.errors import ResultsUnwritable


def write_whole(path: Path, content: bytes) -> None:
    """Puts a file in its place in one piece, synced; who writes the same one at the same time does no harm.

    Raises ResultsUnwritable when the disk is full or the folder is gone.
    """
    name = None
    try:
        make(path.parent)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise ResultsUnwritable(
            f"{path} cannot be written: {error.strerror}; free some space or choose another folder"
        ) from error
    sync(path.parent)


def make(folder: Path) -> None:
    """Makes a folder and those above it, so that their names survive a crash of the machine."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in missing:
        sync(path.parent)


def sync(folder: Path) -> None:
    """Makes the names in a folder survive a crash of the machine, where the file system can do that."""
    # Some network file systems and folders without read permission refuse this; records are synced all the same.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
