"""What `comment.yml` does with GitHub: fetch the comparison of a pull request, and post its report there.

    python .github/comment.py fetch comparison.json
    python .github/comment.py post comment.md

The comparison was written by the code of a pull request, and may be anything: it is one JSON file of limited size, and
only `stepbench report` reads it, in a step that has no token. Which pull request it belongs to is what GitHub says of
the run, by the commit that it ran on. Needs the standard library and `gh`, which reads GH_TOKEN.
"""

from __future__ import annotations

import io
import json
import lzma
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ARTIFACT = "comparison"
MEMBER = "comparison.json"
# Replicates of the main job take 5 MB; compressed JSON is a tenth of that.
MOST_ZIPPED = 16 * 2**20
MOST_BYTES = 64 * 2**20
# GitHub refuses a longer comment.
MOST_CHARACTERS = 65_536
MARKER = "<!-- stepbench -->"
AUTHOR = "github-actions[bot]"
# What zipfile raises for a damaged archive, by the way its members are packed; OSError is bzip2's.
_DAMAGED = (
    zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, ValueError, OSError, zlib.error, lzma.LZMAError,
)  # fmt: skip


class Refused(Exception):
    """Something that is not as a comparison of ours is; its message goes to the log of the run."""


def fetch(run: dict[str, Any]) -> bytes | None:
    """Returns the comparison that a run has left, None without one; raises Refused for what is too large or no zip."""
    listed = api(f"repos/{repository()}/actions/runs/{int(run['id'])}/artifacts", "-f", f"name={ARTIFACT}")
    found = [item for item in listed["artifacts"] if item["name"] == ARTIFACT and not item["expired"]]
    if not found:
        return None
    if found[0]["size_in_bytes"] > MOST_ZIPPED:
        raise Refused(f"the artifact has {found[0]['size_in_bytes']} bytes; {MOST_ZIPPED} are allowed")
    return unpack(gh(f"repos/{repository()}/actions/artifacts/{int(found[0]['id'])}/zip"))


def unpack(archive: bytes) -> bytes:
    """Returns the one file of an archive, nothing of which is written to disk; raises Refused for anything else."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            if opened.namelist() != [MEMBER]:
                raise Refused(f"the artifact holds {len(opened.namelist())} files; {MEMBER} alone is allowed")
            with opened.open(MEMBER) as stream:
                content = stream.read(MOST_BYTES + 1)
    except _DAMAGED as error:
        raise Refused(f"the artifact is no zip archive that can be read: {error}") from error
    if len(content) > MOST_BYTES:
        raise Refused(f"{MEMBER} has more than {MOST_BYTES} bytes")
    return content


def pull_requests(run: dict[str, Any]) -> list[int]:
    """Returns the numbers of the open pull requests whose last commit is the one that was measured.

    The event lists none for a fork; so they are asked for by branch, and told by commit.
    """
    if not run["head_repository"]:
        return []
    head = f"{run['head_repository']['owner']['login']}:{run['head_branch']}"
    listed = api(f"repos/{repository()}/pulls", "-f", "state=open", "-f", f"head={head}")
    return [int(item["number"]) for item in listed if item["head"]["sha"] == run["head_sha"]]


def post(number: int, body: str) -> None:
    """Writes our comment below a pull request, or replaces the text of the one that is there."""
    pages = api(f"repos/{repository()}/issues/{number}/comments", "-f", "per_page=100", "--paginate", "--slurp")
    ours = [item["id"] for page in pages for item in page if item["user"]["login"] == AUTHOR and MARKER in item["body"]]
    if ours:
        where, method = f"repos/{repository()}/issues/comments/{int(ours[0])}", "PATCH"
    else:
        where, method = f"repos/{repository()}/issues/{number}/comments", "POST"
    gh(where, "--method", method, "--input", "-", content=json.dumps({"body": body}).encode())


def text(report: Path, run: dict[str, Any], numbers: Sequence[int] = ()) -> str:
    """Returns a report with its marker, or what is said in its place, by words of ours alone.

    Something is always said: a verdict on an earlier commit must not stay as if nothing had come after it.
    """
    place = f"at {run['head_sha']}"
    link = f"[run]({run['html_url']})"
    body = report.read_text(encoding="utf-8") if report.is_file() else ""
    if body and MARKER not in body:
        body = f"{MARKER}\n{body}"
    if len(body) > MOST_CHARACTERS:
        body = (
            f"{MARKER}\n**stepbench:** the report {place} is too long for a comment: {len(body)} characters ({link}).\n"
        )
    elif not body and (os.environ.get("FETCHED"), os.environ.get("RENDERED")) == ("success", "skipped"):
        body = f"{MARKER}\n**stepbench:** nothing was compared {place}: the {link} left no result.\n"
    elif not body:
        body = (
            f"{MARKER}\n**stepbench:** the result {place} could not be read: the {link} left something else, or it "
            "could not be fetched. The log of the workflow that posts this has the reason.\n"
        )
    several = (
        f"\nThis commit is the last one of {' and '.join(f'#{n}' for n in numbers)}: the base tells which it is.\n"
    )
    return body + several if len(numbers) > 1 and len(body + several) <= MOST_CHARACTERS else body


def repository() -> str:
    """Returns owner/name of the repository that the workflow runs in."""
    return os.environ["GITHUB_REPOSITORY"]


def api(path: str, *options: str) -> Any:
    """Reads from GitHub's REST interface; options are those of `gh api`."""
    return json.loads(gh(path, "--method", "GET", *options))


def gh(path: str, *options: str, content: bytes | None = None) -> bytes:
    """Calls `gh api`; raises CalledProcessError when GitHub refuses."""
    return subprocess.run(["gh", "api", path, *options], input=content, stdout=subprocess.PIPE, check=True).stdout  # noqa: S607 - from PATH of the runner


def main(arguments: list[str]) -> int:
    """Runs one of the two commands; returns the exit code."""
    if len(arguments) != 2 or arguments[0] not in {"fetch", "post"}:
        print(__doc__)
        return 2
    command, path = arguments[0], Path(arguments[1])
    run = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))["workflow_run"]
    try:
        if command == "fetch":
            content = fetch(run)
            if content is None:
                print("the run has left no comparison")
            else:
                path.write_bytes(content)
            return 0
        numbers = pull_requests(run)
        if not numbers:
            print(f"no open pull request ends with {run['head_sha']}: it has moved on, or was closed")
        body = text(path, run, numbers)
        for number in numbers:
            post(number, body)
    except Refused as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
