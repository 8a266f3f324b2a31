from __future__ import annotations

from bench.run.git import git


def test_the_repository_is_the_folders_also_inside_of_another_ones_hook(repository, monkeypatch):
    one, other = repository({"a": "1"}), repository({"a": "2"})
    commits = [repo.commit() for repo in (one, other)]
    monkeypatch.setenv("GIT_DIR", str(other.path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other.path))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other.path / ".git/index"))
    found = git(one.path, "rev-parse", "HEAD")
    assert found.fine
    assert found.output == commits[0] != commits[1]
