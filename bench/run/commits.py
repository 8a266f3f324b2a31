"""The commits of a repository, in the order in which they follow each other."""

from __future__ import annotations

from pathlib import Path

from bench.errors import InvalidRepository
from bench.run import snapshot
from bench.run.git import git


def history(repo: Path, reference: str = "HEAD") -> dict[str, int]:
    """Returns the commits that led to one along first parents, oldest first, with their times in seconds since 1970.

    Each builds on the one before it; commits that a merge brought in are not among them. Raises InvalidRepository for
    what is no commit.
    """
    commit = snapshot.resolve(repo, reference)
    answered = git(repo, "log", "--first-parent", "--reverse", "--format=%H %ct", commit)
    if not answered.fine:
        raise InvalidRepository(f"{repo}: {answered.error or 'git log failed'}")
    pairs = (line.split() for line in answered.output.splitlines())
    return {commit: int(seconds) for commit, seconds in pairs}


def between(repo: Path, good: str, bad: str) -> list[str]:
    """Returns the commits after one and up to another, oldest first.

    They are those along first parents where these lead from one to the other, else all that lie between. There are none
    where the second does not build on the first.
    """
    for along in ("--first-parent", "--ancestry-path"):
        answered = git(repo, "rev-list", "--topo-order", "--reverse", along, f"{good}..{bad}")
        found = answered.output.split() if answered.fine else []
        if found and (along == "--ancestry-path" or _parent(repo, found[0]) == good):
            return found
    return []


def had(repo: Path, reference: str, path: Path) -> bool:
    """Says whether a path is, or was, in a commit that led to one."""
    commit = snapshot.resolve(repo, reference)
    answered = git(repo, "log", "-1", "--format=%H", commit, "--", str(path))
    return answered.fine and bool(answered.output)


def subject(repo: Path, commit: str) -> str:
    """Returns the first line of a commit's message."""
    return git(repo, "log", "-1", "--format=%s", commit).output


def _parent(repo: Path, commit: str) -> str:
    return git(repo, "rev-parse", f"{commit}^").output
