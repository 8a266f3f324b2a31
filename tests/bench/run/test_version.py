from __future__ import annotations

import pytest

from bench.errors import InvalidRepository
from bench.run.snapshot import Snapshot
from bench.run.version import declared, separate_because, version

DECLARES = """
[project]
name = "x"
dependencies = ["torch>=2.8"{more}]
[project.entry-points."stepbench.plugins"]
x = "pkg.plugin"
"""

BUILDS = """
[build-system]
requires = ["setuptools", "Cython>=3"]
"""


@pytest.fixture
def copy(tmp_path):
    def make(name="head", **files):
        root = tmp_path / name
        root.mkdir()
        for file, text in files.items():
            path = root / file.replace("__", "/").replace("_py", ".py").replace("_toml", ".toml").replace(
                "_pyx", ".pyx"
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Snapshot(name=name, commit="c" * 40, dirty=False, root=root)

    return make


def test_a_version_brings_the_plugins_that_it_declares(copy, tmp_path):
    made = version("head", copy(pyproject_toml=DECLARES.format(more="")), tmp_path / "repo", None, ())
    assert made.plugins == ("pkg.plugin",)
    assert made.paths == (str(tmp_path / "head"),)


def test_src_is_the_import_root_where_there_is_one_or_what_was_given(copy, tmp_path):
    snapshot = copy(pyproject_toml=DECLARES.format(more=""), src__pkg__a_py="", lib__b_py="")
    assert version("head", snapshot, tmp_path, None, ()).paths == (str(snapshot.root / "src"),)
    assert version("head", snapshot, tmp_path, "lib", ()).paths == (str(snapshot.root / "lib"),)
    for wrong in ("none", "../..", "/"):
        with pytest.raises(InvalidRepository, match="has no such folder in its repository"):
            version("head", snapshot, tmp_path, wrong, ())


def test_a_plugin_of_the_repository_is_that_of_the_copy_and_any_other_stays(copy, tmp_path):
    repo = tmp_path / "repo"
    (repo / "tools").mkdir(parents=True)
    snapshot = copy(tools__parts_py="")
    made = version(
        "head", snapshot, repo, None, (str(repo / "tools/parts.py"), "/elsewhere/more.py", str(repo / "new.py"))
    )
    assert made.plugins == (str(snapshot.root / "tools/parts.py"), "/elsewhere/more.py", str(repo / "new.py"))


def test_a_version_without_plugins_says_how_to_give_one(copy, tmp_path):
    for snapshot in (copy("a"), copy("b", pyproject_toml="no toml ["), copy("c", pyproject_toml='project = "odd"')):
        assert declared(snapshot.root) == []
        with pytest.raises(InvalidRepository, match="give --plugin FILE, or declare one"):
            version("head", snapshot, tmp_path / "repo", None, ())


def test_versions_are_kept_apart_when_they_need_other_packages_or_are_compiled(copy, tmp_path):
    def make(name, more="", **files):
        snapshot = copy(name, pyproject_toml=DECLARES.format(more=more), **files)
        return version("head", snapshot, tmp_path / "repo", None, ())

    plain = make("a")
    assert separate_because(plain, make("b")) is None
    assert separate_because(plain, make("c", ', "numpy>=1"')) is None  # which this environment has
    for number, need in enumerate(("numpy>=99", "no-such-package", "x @ file:///x.whl", "not a requirement")):
        assert need in separate_because(plain, make(f"c{number}", f', "{need}"'))
    assert separate_because(plain, make("e", ", \"x; python_version < '3'\"")) is None
    builds = {"setup_py": "setup(ext_modules=cythonize('pkg/fast.pyx'))"}
    assert "fast.pyx" in separate_because(plain, make("d", pkg__fast_pyx="", **builds))
    # An example, a test, somebody's scratch: nothing says that it is built.
    assert separate_because(plain, make("f", docs__example_pyx="")) is None
    assert separate_because(plain, make("g", docs__example_pyx="", setup_py="setup()")) is None
    snapshot = copy("h", docs__example_pyx="", pyproject_toml=DECLARES.format(more="") + BUILDS)
    assert "example.pyx" in separate_because(plain, version("head", snapshot, tmp_path / "repo", None, ()))
