"""Versions that depend on different packages, or are compiled: each gets an environment of its own."""

from __future__ import annotations

import json
import shutil
import zipfile

import pytest

from tests.tools.toys import PLUGIN, PYPROJECT, QUICK, toys

SOURCE = """
#include <Python.h>
static PyObject* number(PyObject* self, PyObject* none) {{ return PyLong_FromLong({number}); }}
static PyMethodDef methods[] = {{{{"number", number, METH_NOARGS, ""}}, {{0}}}};
static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, "fast", "", -1, methods}};
PyMODINIT_FUNC PyInit_fast(void) {{ return PyModule_Create(&module); }}
"""
SETUP = """
from setuptools import Extension, setup
setup(packages=["toys"], ext_modules=[Extension("toys.fast", ["toys/fast.c"])])
"""

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def wheel(tmp_path):
    """Makes a wheel of a package with one number in it, and returns the requirement that installs it."""

    def make(version):
        name = f"ballast-{version}-py3-none-any.whl"
        about = f"ballast-{version}.dist-info"
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("ballast.py", f"NUMBER = {version}\n")
            archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: ballast\nVersion: {version}\n")
            archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{about}/RECORD", "")
        return f"ballast @ file://{tmp_path / name}"

    return make


def depends(requirement, number):
    plugin = PLUGIN.replace("{name}", "descent") + f"\n    import ballast\n    assert ballast.NUMBER == {number}\n"
    return toys() | {
        "pyproject.toml": PYPROJECT.replace('version = "1"', f'version = "1"\ndependencies = ["{requirement}"]'),
        "toys/plugin.py": plugin,
    }


def test_each_version_runs_with_the_packages_that_it_depends_on(repository, stepbench, wheel, tmp_path):
    repo = repository(depends(wheel(1), 1))
    base = repo.commit()
    repo.write(depends(wheel(2), 2))
    code, out, err = stepbench(
        "compare", "--repo", repo.path, "--json", tmp_path / "out.json", *QUICK, base, ".", "net/plain", "--budget", "1"
    )
    assert (code, err) == (0, "")
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["variants"][0]["isolation"] == "process"
    assert document["run"]["base"]["packages"] == ["ballast 1"]
    assert document["run"]["head"]["packages"] == ["ballast 2"]
    text = " ".join(out.split())
    assert "because the versions depend on different packages (ballast @ file://" in text
    assert "base ran with packages of its own: ballast 1" in text


def test_a_dependency_that_cannot_be_had_is_one_line(repository, stepbench, tmp_path):
    repo = repository(toys())
    base = repo.commit()
    repo.write(depends(f"ballast @ file://{tmp_path}/none-1-py3-none-any.whl", 1))
    code, out, err = stepbench("compare", "--repo", repo.path, base, ".", "net/plain")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "working tree: an environment with its dependencies cannot be made: ERROR: " in err
    assert "--isolation module" in err


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_extensions_are_compiled_for_each_version(repository, stepbench, tmp_path):
    def compiled(number):
        plugin = PLUGIN.replace("{name}", "descent")
        plugin += f"\n    from toys.fast import number\n    assert number() == {number}\n"
        return toys() | {"toys/plugin.py": plugin, "toys/fast.c": SOURCE.format(number=number), "setup.py": SETUP}

    repo = repository(compiled(1))
    base = repo.commit()
    repo.write(compiled(2))
    code, out, err = stepbench("compare", "--repo", repo.path, *QUICK, base, ".", "net/plain", "--budget", "1")
    assert (code, err) == (0, "")
    assert "has sources that are compiled (fast.c)" in " ".join(out.split())
