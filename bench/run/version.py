"""From a copy of a commit to a version that can be imported: its import roots and its plug-ins."""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from bench.data.duet import SideName, Version
from bench.errors import InvalidRepository
from bench.run.load import GROUP
from bench.run.snapshot import Snapshot

_EXTENSIONS = ("*.pyx", "*.cu", "*.cpp", "*.cc", "*.c", "*.rs")
# What a setup.py says that builds extensions, and what is needed to build any.
_BUILDING_WORDS = ("ext_modules", "cythonize", "Extension(", "rust_extensions", "cffi_modules")
_BUILDERS = ("cython", "pybind11", "nanobind", "cffi", "rust", "maturin", "scikit-build", "meson", "cmake", "torch")


def version(side: SideName, snapshot: Snapshot, repo: Path, path: str | None, plugins: Sequence[str]) -> Version:
    """Returns a version: plug-ins inside of the repository are taken from the copy, others from where they are.

    Without `path` the import root is the folder src, where there is one, or the repository. Without `plugins` those
    count that the copy's pyproject.toml declares as entry points. Raises InvalidRepository for a folder that the copy
    does not have, and for a version without any plug-in.
    """
    default = "src" if (snapshot.root / "src").is_dir() else "."
    root = (snapshot.root / (path or default)).resolve()
    if not root.is_dir() or not root.is_relative_to(snapshot.root.resolve()):
        raise InvalidRepository(f"--path {path}: {snapshot.name} has no such folder in its repository")
    chosen = [_in_copy(plugin, snapshot, repo) for plugin in plugins] or declared(snapshot.root)
    if not chosen:
        raise InvalidRepository(
            f"{snapshot.name} has no plug-in: give --plugin FILE, or declare one in its pyproject.toml under "
            f'[project.entry-points."{GROUP}"]'
        )
    return Version(
        side=side,
        name=snapshot.name,
        commit=snapshot.commit,
        dirty=snapshot.dirty,
        root=str(snapshot.root.resolve()),
        paths=(str(root),),
        plugins=tuple(chosen),
    )


def _in_copy(plugin: str, snapshot: Snapshot, repo: Path) -> str:
    path = Path(plugin).resolve()
    if path.is_relative_to(repo.resolve()):
        inside = snapshot.root.resolve() / path.relative_to(repo.resolve())
        # A plug-in that only the working tree has serves both sides: it describes them, and is no part of either.
        return str(inside if inside.is_file() else path)
    return str(path)


def declared(root: Path) -> list[str]:
    """Returns the plug-in modules that a version's pyproject.toml declares."""
    return sorted(
        str(value).partition(":")[0] for value in _project(root).get("entry-points", {}).get(GROUP, {}).values()
    )


def separate_because(base: Version, head: Version) -> str | None:
    """Returns why two versions need environments of their own, or None.

    One process has one release of every dependency, and a compiled extension is built for one version of its source.
    Versions that ask for different packages may share a process if this environment has what both of them ask for.
    """
    wanted = [needs(Path(side.root)) for side in (base, head)]
    unmet = [need for need in sorted(set(wanted[0]) ^ set(wanted[1])) if not _met(need)]
    if unmet:
        return f"the versions depend on different packages ({', '.join(unmet[:3])})"
    for side in (base, head):
        found = compiled(side)
        if found:
            return f"{side.name} has sources that are compiled ({found})"
    return None


def compiled(version: Version) -> str | None:
    """Returns the name of a source of a version that has to be compiled, or None.

    A source that the project says nothing of is an example, a test, or somebody's scratch.
    """
    if not _builds_extensions(Path(version.root)):
        return None
    for place in version.paths:
        for pattern in _EXTENSIONS:
            found = next(Path(place).rglob(pattern), None)
            if found is not None:
                return found.name
    return None


def _builds_extensions(root: Path) -> bool:
    """Says whether a version's pyproject.toml or setup.py knows of extensions."""
    try:
        script = (root / "setup.py").read_text(encoding="utf-8", errors="replace")
    except OSError:
        script = ""
    table = _toml(root).get("tool", {})
    setuptools = table.get("setuptools", {}) if isinstance(table, dict) else {}
    return (
        any(word in script for word in _BUILDING_WORDS)
        or (isinstance(setuptools, dict) and "ext-modules" in setuptools)
        or any(tool in need.lower() for need in build_needs(root) for tool in _BUILDERS)
    )


def needs(root: Path) -> list[str]:
    """Returns the requirements that a version's pyproject.toml declares."""
    return sorted(map(str, _project(root).get("dependencies", [])))


def _met(need: str) -> bool:
    """Says whether the running environment has what a requirement asks for."""
    try:
        requirement = Requirement(need)
        if requirement.marker is not None and not requirement.marker.evaluate():
            return True
        have = importlib.metadata.version(requirement.name)
    except (InvalidRequirement, importlib.metadata.PackageNotFoundError):
        return False
    # A package from an address cannot be told from another one of its name.
    return requirement.url is None and requirement.specifier.contains(have, prereleases=True)


def build_needs(root: Path) -> list[str]:
    """Returns what a version's build asks for; setuptools where it does not say."""
    found = _toml(root).get("build-system", {})
    return [str(name) for name in (found.get("requires", []) if isinstance(found, dict) else [])] or ["setuptools"]


def _project(root: Path) -> dict[str, Any]:
    found = _toml(root).get("project", {})
    return found if isinstance(found, dict) else {}


def _toml(root: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
