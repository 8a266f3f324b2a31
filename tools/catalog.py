"""Reads the sets of a catalog file, which belongs to the checkout and not to the installed package."""

from __future__ import annotations

from pathlib import Path

from bench.errors import InvalidOption, UnknownName
from bench.run.load import load_file

DEFAULT = "suites/catalog.py"


def sets(path: str | None) -> dict[str, tuple[str, ...]]:
    """Returns the sets of a catalog; without a path that of the working directory, and none where there is none."""
    if path is None and not Path(DEFAULT).is_file():
        return {}
    module = load_file(Path(path or DEFAULT))
    found = getattr(module, "SETS", None)
    if not isinstance(found, dict):
        raise InvalidOption(f"--catalog {path}: has no dictionary SETS of set name -> variant ids")
    return {str(name): tuple(map(str, ids)) for name, ids in found.items()}


def choose(path: str | None, name: str) -> tuple[str, ...]:
    """Returns one set by name; raises UnknownName with the nearest ones."""
    known = sets(path)
    if not known:
        raise InvalidOption(
            f"--set {name}: there is no {DEFAULT} here; run in a checkout, give --catalog PATH, or name variants"
        )
    if name not in known:
        raise UnknownName("set", name, known)
    return known[name]
