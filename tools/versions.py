"""From names of commits to versions that can be imported, for the commands that take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.data.duet import SideName, Version
from bench.run import own_environment, snapshot
from bench.run.version import version

from . import progress

WORKING_TREE = "."


def named(side: SideName, folder: Path, name: str, path: str | None, plugins: Sequence[str]) -> Version:
    """Returns the version of a commit, or of the working tree with its uncommitted changes for a dot."""
    copy = snapshot.of_working_tree(folder, side) if name == WORKING_TREE else snapshot.of_commit(folder, name, side)
    return version(side, copy, folder, path, plugins)


def equipped(side: Version, show: progress.Show) -> Version:
    """Gives a version an environment of its own, with what it depends on."""
    show(f"installing what {side.name} depends on")
    return own_environment.equipped(side)


def clean(folder: Path) -> None:
    """Drops the oldest copies of a repository's versions, and the oldest environments."""
    snapshot.clean(folder)
    own_environment.clean()
