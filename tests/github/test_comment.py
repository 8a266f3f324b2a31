"""The script of comment.yml, against a `gh` that answers from a table and writes down what it was asked."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import zipfile

import pytest

from bench.run.load import load_file
from tests.tools.conftest import ROOT

RUN = {
    "id": 7,
    "head_sha": "a" * 40,
    "head_branch": "x; $(touch pwned) `y`",
    "head_repository": {"owner": {"login": "stranger"}},
    "html_url": "https://example.org/run/7",
}
GH = """#!{python}
import json, sys
from pathlib import Path
home = Path({home!r})
with (home / "asked.jsonl").open("a") as stream:
    stream.write(json.dumps([sys.argv[1:], "" if sys.stdin.isatty() else sys.stdin.read()]) + "\\n")
answers = json.loads((home / "answers.json").read_text())
name = answers[sys.argv[2]]
sys.stdout.buffer.write((home / name).read_bytes() if name.endswith(".zip") else name.encode())
"""


@pytest.fixture
def comment():
    return load_file(ROOT / ".github/comment.py")


@pytest.fixture
def github(tmp_path, monkeypatch):
    """Answers by path of the REST interface, and returns what was asked: arguments and standard input."""
    executable = tmp_path / "gh"
    executable.write_text(GH.format(python=sys.executable, home=str(tmp_path)))
    executable.chmod(0o755)
    (tmp_path / "event.json").write_text(json.dumps({"workflow_run": RUN}))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("GITHUB_REPOSITORY", "us/ours")
    monkeypatch.setenv("GITHUB_EVENT_PATH", str(tmp_path / "event.json"))

    def answer(**answers):
        (tmp_path / "answers.json").write_text(json.dumps({f"repos/us/ours/{k}": v for k, v in answers.items()}))

    def asked():
        return [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]

    answer.asked = asked
    return answer


def zipped(packed=zipfile.ZIP_DEFLATED, **members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packed) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def artifacts(size=100, **changes):
    item = {"id": 9, "name": "comparison", "expired": False, "size_in_bytes": size} | changes
    return json.dumps({"artifacts": [item]})


def pulls(*commits):
    return json.dumps([{"number": number, "head": {"sha": sha}} for number, sha in enumerate(commits, 1)])


def test_the_comparison_is_fetched(comment, github, tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped(**{"comparison.json": b"{}"}))
    github(**{"actions/runs/7/artifacts": artifacts(), "actions/artifacts/9/zip": "a.zip"})
    assert comment.main(["fetch", str(tmp_path / "comparison.json")]) == 0
    assert (tmp_path / "comparison.json").read_bytes() == b"{}"


@pytest.mark.parametrize("listed", [json.dumps({"artifacts": []}), artifacts(expired=True), artifacts(name="other")])
def test_a_run_without_a_comparison_leaves_no_file(comment, github, tmp_path, listed):
    github(**{"actions/runs/7/artifacts": listed})
    assert comment.main(["fetch", str(tmp_path / "comparison.json")]) == 0
    assert not (tmp_path / "comparison.json").exists()


def test_an_artifact_that_is_too_large_is_not_even_fetched(comment, github, tmp_path, capsys):
    github(**{"actions/runs/7/artifacts": artifacts(size=2**30)})
    assert comment.main(["fetch", str(tmp_path / "comparison.json")]) == 1
    assert "16777216 are allowed" in capsys.readouterr().err
    assert len(github.asked()) == 1


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"PK no zip",
        zipped(**{"../../evil.json": "{}"}),
        zipped(**{"comparison.json": "{}", "more": ""}),
        zipped(**{"comparison.json": "{}"})[:-30],
    ],
)
def test_any_other_archive_is_refused(comment, archive):
    with pytest.raises(comment.Refused):
        comment.unpack(archive)


@pytest.mark.parametrize("packed", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_damaged_anywhere_is_read_or_refused(comment, packed):
    whole = zipped(packed, **{"comparison.json": bytes(range(256))})
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        with contextlib.suppress(comment.Refused):
            assert comment.unpack(bytes(changed)) == bytes(range(256))


def test_an_archive_that_unfolds_to_more_than_is_allowed_is_refused(comment, monkeypatch):
    monkeypatch.setattr(comment, "MOST_BYTES", 1000)
    assert len(comment.unpack(zipped(**{"comparison.json": b"0" * 1000}))) == 1000
    with pytest.raises(comment.Refused, match="more than 1000 bytes"):
        comment.unpack(zipped(**{"comparison.json": b"0" * 1001}))


def posted(github, comment, tmp_path, *, comments, commits=("a" * 40,)):
    github(
        **{
            "pulls": pulls(*commits),
            "issues/1/comments": json.dumps([comments]),
            "issues/2/comments": json.dumps([comments]),
            "issues/comments/5": "{}",
        }
    )
    (tmp_path / "comment.md").write_text("<!-- stepbench -->\n**slower**")
    assert comment.main(["post", str(tmp_path / "comment.md")]) == 0
    return [(arguments[1], json.loads(given)["body"]) for arguments, given in github.asked() if "--input" in arguments]


def said(identity, login, body):
    return {"id": identity, "user": {"login": login}, "body": body}


def test_the_first_report_is_a_new_comment_below_the_pull_request_whose_last_commit_was_measured(
    comment, github, tmp_path
):
    others = [said(3, "stranger", "<!-- stepbench --> mine"), said(4, "github-actions[bot]", "another bot's")]
    found = posted(github, comment, tmp_path, comments=others, commits=("b" * 40, "a" * 40))
    assert found == [("repos/us/ours/issues/2/comments", "<!-- stepbench -->\n**slower**")]


def test_the_next_report_replaces_it(comment, github, tmp_path):
    ours = [said(5, "github-actions[bot]", "<!-- stepbench -->\nold")]
    found = posted(github, comment, tmp_path, comments=ours)
    assert found == [("repos/us/ours/issues/comments/5", "<!-- stepbench -->\n**slower**")]
    assert [arguments[3] for arguments, _ in github.asked() if "--input" in arguments] == ["PATCH"]


def test_a_pull_request_that_has_moved_on_gets_no_comment(comment, github, tmp_path):
    assert posted(github, comment, tmp_path, comments=[], commits=("b" * 40,)) == []


def test_names_of_branches_are_arguments_and_nothing_else(comment, github, tmp_path):
    posted(github, comment, tmp_path, comments=[])
    assert f"head=stranger:{RUN['head_branch']}" in github.asked()[0][0]


@pytest.mark.parametrize(
    ("fetched", "rendered", "says"),
    [
        ("success", "skipped", "nothing was compared at"), ("failure", "skipped", "could not be read"),
        ("success", "failure", "could not be read"), ("skipped", "skipped", "could not be read"),
    ],
)  # fmt: skip
def test_without_a_report_the_verdict_on_an_earlier_commit_is_replaced(
    comment, github, tmp_path, monkeypatch, fetched, rendered, says
):
    monkeypatch.setenv("FETCHED", fetched)
    monkeypatch.setenv("RENDERED", rendered)
    ours = [said(5, "github-actions[bot]", "<!-- stepbench -->\nold verdict")]
    github(**{
        "pulls": pulls("a" * 40), "issues/1/comments": json.dumps([ours]), "issues/comments/5": "{}",
    })  # fmt: skip
    assert comment.main(["post", str(tmp_path / "absent.md")]) == 0
    ((_, given),) = [(arguments, given) for arguments, given in github.asked() if "--input" in arguments]
    body = json.loads(given)["body"]
    assert body.startswith("<!-- stepbench -->\n")
    assert says in body
    assert RUN["head_sha"] in body
    assert RUN["html_url"] in body


def test_the_workflow_posts_also_where_rendering_failed_and_says_how_the_steps_ended():
    workflow = (ROOT / ".github/workflows/comment.yml").read_text()
    last = workflow.rpartition("- name:")[2]
    assert "if: ${{ !cancelled() }}" in last
    assert "FETCHED: ${{ steps.fetch.outcome }}" in last
    assert "RENDERED: ${{ steps.render.outcome }}" in last


def test_a_report_that_github_would_refuse_is_not_posted_and_said_to_be_too_long(comment, tmp_path):
    (tmp_path / "comment.md").write_text("x" * 70_000)
    body = comment.text(tmp_path / "comment.md", RUN)
    assert "too long for a comment" in body
    assert len(body) < 1000


def test_two_pull_requests_with_one_last_commit_are_both_named(comment, github, tmp_path):
    found = posted(github, comment, tmp_path, comments=[], commits=("a" * 40, "a" * 40))
    assert [where for where, _ in found] == ["repos/us/ours/issues/1/comments", "repos/us/ours/issues/2/comments"]
    assert all("the last one of #1 and #2" in body for _, body in found)
