"""Copies of a repository's commits, and of its working tree, that nobody edits while they are measured.

Git writes the files of a commit through an index of its own into a cache folder: the user's checkout, index and list of
worktrees are only read, so that nothing has to be cleaned up there, whatever ends the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.data.duet import SideName
from bench.errors import InvalidRepository
from bench.run.git import git

KEPT = 16
WORKING_TREE = "working tree"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A copy: what a person called it, its commit, whether files differ from the commit, and where it lies."""

    name: str
    commit: str
    dirty: bool
    root: Path


def cache_folder() -> Path:
    """Returns where copies are kept: STEPBENCH_CACHE, or stepbench in the user's cache folder."""
    chosen = os.environ.get("STEPBENCH_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepbench"


def top_level(path: Path) -> Path:
    """Returns the root of the repository that a folder belongs to; raises InvalidRepository where there is none."""
    if not path.is_dir():
        raise InvalidRepository(f"--repo {path}: there is no such folder")
    return Path(_git(path, "rev-parse", "--show-toplevel", wrong=f"{path} is in no git repository"))


def resolve(repo: Path, reference: str) -> str:
    """Returns the commit that a name stands for; raises InvalidRepository with the nearest way out."""
    shallow = _git(repo, "rev-parse", "--is-shallow-repository") == "true"
    way_out = (
        "this clone is shallow: git fetch --unshallow" if shallow else "see git branch --all, git tag; or git fetch it"
    )
    return _git(
        repo,
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        f"{reference}^{{commit}}",
        wrong=f"{reference!r} is no commit of {repo}; {way_out}",
    )


def is_commit(repo: Path, reference: str) -> bool:
    """Says whether a name stands for a commit."""
    try:
        resolve(repo, reference)
    except InvalidRepository:
        return False
    return True


def of_commit(repo: Path, reference: str, side: SideName) -> Snapshot:
    """Returns the copy of a commit, which is made where the cache does not have it yet.

    Each side has a copy of its own, so that a file tells which side it belongs to also where both are one commit.
    """
    commit = resolve(repo, reference)
    root = _folder(repo) / f"{side}-{commit}"
    if not root.is_dir():
        with made(root) as place, tempfile.TemporaryDirectory() as scratch:
            environment = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
            _git(repo, "read-tree", commit, environment=environment)
            _git(repo, "checkout-index", "--all", "--quiet", f"--prefix={place}/", environment=environment)
    os.utime(root)
    return Snapshot(name=reference, commit=commit, dirty=False, root=root)


def of_working_tree(repo: Path, side: SideName) -> Snapshot:
    """Returns a copy of the working tree: every tracked file as it is now, and new files that git does not ignore."""
    commit = resolve(repo, "HEAD")
    names = _git(repo, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    files = sorted(name for name in set(filter(None, names)) if (repo / name).is_file() or (repo / name).is_symlink())
    digest = hashlib.sha256(commit.encode())
    for name in files:
        digest.update(os.fsencode(name) + b"\0")
        path = repo / name
        digest.update(os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes())
    root = _folder(repo) / f"{side}-{digest.hexdigest()[:40]}"
    if not root.is_dir():
        with made(root) as place:
            for name in files:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(repo / name, place / name, follow_symlinks=False)
    os.utime(root)
    dirty = bool(_git(repo, "status", "--porcelain"))
    return Snapshot(name=WORKING_TREE, commit=commit, dirty=dirty, root=root)


def clean(repo: Path) -> None:
    """Removes the copies of a repository that were not used for longest, down to the last few."""
    keep_latest(_folder(repo), KEPT)


def keep_latest(folder: Path, kept: int) -> None:
    """Removes the folders in a folder that were not used for longest, down to some number."""
    found = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    for path in sorted(found, key=lambda path: -path.stat().st_mtime)[kept:]:
        shutil.rmtree(path, ignore_errors=True)


def _folder(repo: Path) -> Path:
    name = hashlib.sha256(os.fsencode(repo.resolve())).hexdigest()[:12]
    folder = cache_folder() / "snapshots" / f"{repo.resolve().name}-{name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRepository(f"{folder}: {error.strerror}; set STEPBENCH_CACHE to a folder of yours") from error
    return folder


@contextlib.contextmanager
def made(root: Path) -> Iterator[Path]:
    """Fills a folder beside its place and moves it there in one piece; another process may have been faster."""
    place = Path(tempfile.mkdtemp(prefix=".new-", dir=root.parent))
    try:
        yield place
        with contextlib.suppress(OSError):
            place.rename(root)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _git(repo: Path, *arguments: str, wrong: str | None = None, environment: dict[str, str] | None = None) -> str:
    answered = git(repo, *arguments, environment=environment)
    if not answered.fine:
        raise InvalidRepository(wrong or f"{repo}: {answered.error or f'git {arguments[0]} failed'}")
    return answered.output
