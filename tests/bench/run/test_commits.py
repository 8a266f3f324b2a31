from __future__ import annotations

from bench.run import commits


def test_what_a_commit_had_is_known_after_it_was_removed(repository):
    repo = repository({"parts.py": "", "src/a.py": ""})
    repo.commit()
    repo.git("rm", "-q", "parts.py")
    repo.commit()
    (repo.path / "new.py").touch()
    had = [commits.had(repo.path, "HEAD", repo.path / name) for name in ("parts.py", "src", "new.py", "../elsewhere")]
    assert had == [True, True, False, False]
