"""The one place that calls git."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Reading must not refresh the index: somebody may be committing at this moment.
_COMMAND = ("git", "--no-optional-locks", "-C")
PATIENCE_S = 300.0
# Set inside of hooks, by which git would answer for another repository than the folder's.
_ELSEWHERE = frozenset(
    {
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_COMMON_DIR",
        "GIT_OBJECT_DIRECTORY",
        "GIT_NAMESPACE",
        "GIT_PREFIX",
    }
)


@dataclass(frozen=True)
class Answered:
    """What git said; `fine` is its exit code's meaning, names keep bytes that are no UTF-8."""

    fine: bool
    output: str
    error: str


def git(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> Answered:
    """Runs git in a folder; where it is not installed or does not end, the answer is an error like its own."""
    try:
        done = subprocess.run(
            [*_COMMAND, str(folder), *arguments],
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
            env={name: value for name, value in os.environ.items() if name not in _ELSEWHERE} | (environment or {}),
        )
    except FileNotFoundError:
        return Answered(fine=False, output="", error="git is not installed")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Answered(fine=False, output="", error=str(error))
    error_lines = os.fsdecode(done.stderr).strip().partition("\n")[0]
    return Answered(fine=done.returncode == 0, output=os.fsdecode(done.stdout).strip("\n"), error=error_lines)
