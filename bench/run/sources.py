"""Source hashes: from which code a part was built, so that a change of it can be told from noise."""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import sysconfig
from pathlib import Path
from typing import Any

from bench.data.variant import NONE, PART_AXES
from bench.plugin import Part, Registry
from bench.run.build import Step

_STANDARD = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
# By name, because an environment may see the packages of another one.
_INSTALLED = frozenset({"site-packages", "dist-packages"})
# What a module may compile for itself lies beside it.
_NATIVE = frozenset({".c", ".cc", ".cpp", ".cxx", ".cu", ".cuh", ".h", ".hpp", ".metal"})


def hash_parts(registry: Registry, step: Step) -> dict[str, str]:
    """Returns `kind:name` -> SHA-256 for each part of a built step.

    The hash covers the factory's own text, the files that define the classes it built, every file of the same
    top-level package that those import, directly or not, and sources in C, C++ and the like beside one of them.
    """
    built: dict[str, list[Any]] = {
        "model": [*step.module.modules(), step.workload.loss],
        "optimizer": [step.optimizer],
        "quantization": list(step.module.modules()),
    }
    return {
        f"{axis}:{name}": _hash(registry.get(axis, name), built[axis])
        for axis in PART_AXES
        if (name := getattr(step.variant, axis)) != NONE
    }


def _hash(part: Part, objects: list[Any]) -> str:
    digest = hashlib.sha256()
    digest.update(_text(part.factory).encode())
    home = part.factory.__module__.partition(".")[0]
    files: dict[str, Path] = {}
    for name in sorted({_module_of(item) for item in objects}):
        _collect(name, home, files)
    for folder in {path.parent for path in files.values()}:
        beside = (path for path in folder.iterdir() if path.suffix in _NATIVE and path.is_file())
        files |= {f"{folder.name}/{path.name}": path for path in beside}
    for name, path in sorted(files.items()):
        digest.update(f"\0{name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _text(factory: Any) -> str:
    try:
        return inspect.getsource(factory)
    except (OSError, TypeError):
        return repr(getattr(factory, "__qualname__", factory))


def _module_of(item: Any) -> str:
    return item.__module__ if inspect.isfunction(item) else type(item).__module__


def _collect(name: str, home: str, files: dict[str, Path]) -> None:
    """Adds a module and what it imports, as long as it belongs to the plug-in's package or lies outside any library."""
    module = sys.modules.get(name)
    source = getattr(module, "__file__", None)
    if source is None or name in files or not source.endswith(".py"):
        return
    installed = source.startswith(_STANDARD) or not _INSTALLED.isdisjoint(Path(source).parts)
    if name.partition(".")[0] != home and installed:
        return
    files[name] = Path(source)
    for node in ast.walk(ast.parse(Path(source).read_bytes())):
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            imported = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.ImportFrom) and node.level:
            is_package = source.endswith("__init__.py")
            base = name.split(".")[: None if is_package and node.level == 1 else -(node.level - is_package)]
            stem = ".".join([*base, *filter(None, [node.module])])
            imported = [stem, *(f"{stem}.{alias.name}" for alias in node.names)]
        else:
            continue
        for other in imported:
            _collect(other, home, files)
