"""On real repositories, because what is promised is about git."""

from __future__ import annotations

import os
import subprocess

import pytest

from bench.errors import InvalidRepository
from bench.run import snapshot


def files(root):
    return {
        str(path.relative_to(root)): path.read_text()
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def state(repo):
    """Everything of a repository that a copy must leave as it is."""
    git = {str(path): path.stat().st_mtime_ns for path in (repo / ".git").rglob("*") if path.is_file()}
    return git, files(repo)


def test_a_commit_is_copied_whole_and_the_checkout_is_only_read(repository):
    repo = repository({"pkg/a.py": "A = 1\n", "with space/ü.txt": "x"})
    first = repo.commit()
    repo.write({"pkg/a.py": "A = 2\n"})
    repo.commit()
    (repo.path / "new.py").write_text("")
    before = state(repo.path)
    copy = snapshot.of_commit(repo.path, first, "base")
    assert files(copy.root) == {"pkg/a.py": "A = 1\n", "with space/ü.txt": "x"}
    assert (copy.commit, copy.dirty) == (first, False)
    assert state(repo.path) == before
    assert snapshot.of_commit(repo.path, first, "head").root != copy.root


def test_the_working_tree_is_copied_with_its_changes_and_new_files_but_not_with_ignored_ones(repository):
    repo = repository({"pkg/a.py": "A = 1\n", "gone.py": "", ".gitignore": "*.log\n"})
    commit = repo.commit()
    repo.write({"pkg/a.py": "A = 3\n", "new.py": "N", "noise.log": "x"})
    (repo.path / "gone.py").unlink()
    before = state(repo.path)
    copy = snapshot.of_working_tree(repo.path, "head")
    assert files(copy.root) == {"pkg/a.py": "A = 3\n", "new.py": "N", ".gitignore": "*.log\n"}
    assert (copy.name, copy.commit, copy.dirty) == ("working tree", commit, True)
    assert state(repo.path) == before
    repo.write({"pkg/a.py": "A = 4\n"})
    assert snapshot.of_working_tree(repo.path, "head").root != copy.root


def test_a_copy_is_made_once(repository):
    repo = repository({"a.py": ""})
    commit = repo.commit()
    copy = snapshot.of_commit(repo.path, commit, "base")
    (copy.root / "__pycache__").mkdir()
    assert (snapshot.of_commit(repo.path, "HEAD", "base").root / "__pycache__").is_dir()


@pytest.mark.parametrize("name", ["nothing", "-h", "--all", "a'b\"c", "HEAD~9", "", "HEAD:a.py", "x y"])
def test_what_is_no_commit_says_so_on_one_line(repository, name):
    repo = repository({"a.py": ""})
    repo.commit()
    with pytest.raises(InvalidRepository, match="is no commit of") as raised:
        snapshot.of_commit(repo.path, name, "base")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["feature/with-slash", "v1.0", "quo'te", "ümlaut"])
def test_branches_and_tags_of_any_name_are_found(repository, name):
    repo = repository({"a.py": ""})
    commit = repo.commit()
    repo.git("tag", name)
    assert snapshot.of_commit(repo.path, name, "base").commit == commit


def test_a_shallow_clone_says_how_to_get_the_rest(repository, tmp_path):
    repo = repository({"a.py": "1"})
    first = repo.commit()
    repo.write({"a.py": "2"})
    repo.commit()
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth=1", repo.path.as_uri(), shallow], check=True)
    with pytest.raises(InvalidRepository, match="git fetch --unshallow"):
        snapshot.of_commit(shallow, first, "base")


def test_a_folder_without_a_repository_says_so(tmp_path):
    with pytest.raises(InvalidRepository, match="is in no git repository"):
        snapshot.top_level(tmp_path)
    with pytest.raises(InvalidRepository, match="there is no such folder"):
        snapshot.top_level(tmp_path / "none")


def test_old_copies_are_removed_and_used_ones_stay(repository, monkeypatch):
    monkeypatch.setattr(snapshot, "KEPT", 2)
    repo = repository({"a.py": "0"})
    copies = []
    for index in range(4):
        repo.write({"a.py": str(index)})
        copies.append(snapshot.of_commit(repo.path, repo.commit(), "base").root)
        os.utime(copies[-1], (index, index))
    os.utime(copies[0], (99, 99))
    snapshot.clean(repo.path)
    assert [copy.is_dir() for copy in copies] == [True, False, False, True]


def test_a_copy_that_breaks_off_leaves_nothing_behind(repository, monkeypatch):
    repo = repository({"a.py": "0"})
    repo.commit()

    def broken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copy2", broken)
    with pytest.raises(KeyboardInterrupt):
        snapshot.of_working_tree(repo.path, "head")
    assert not list((snapshot.cache_folder() / "snapshots").glob("*/*"))
