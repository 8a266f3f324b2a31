"""Module isolation: two versions of the same packages side by side in one process.

Every module whose file lies in a version's import roots belongs to that side. `sys.modules` holds the modules of one
side at a time; switching puts the other side's in their place, so that an import inside a function finds its own side
too. Everything else (torch, the standard library, the instrument itself) is shared.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.machinery
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from bench.data.duet import SideName, Version
from bench.errors import PluginFailed
from bench.plugin import Registry
from bench.run.load import describe, load_file, register

# What the instrument is made of is never a specimen, even where a version's import root holds a copy of it.
_OURS = frozenset({"bench", "stepbench"})


class LateImport(ImportError):
    """A version imports one of its modules while both run at once, so that it cannot be told whose it is."""


class Side:
    """One version in this process: its modules, and how to import them."""

    def __init__(self, version: Version) -> None:
        self.version = version
        self.name: SideName = version.side
        self.modules: dict[str, ModuleType] = {}
        self.claimed: list[str] = []

    def owns(self, file: str | None) -> bool:
        """Says whether a file lies in one of this version's import roots, or is one of its plug-ins."""
        return file is not None and (
            file.startswith(tuple(f"{path}/" for path in self.version.paths)) or file in self.version.plugins
        )

    def has(self, top: str) -> bool:
        """Says whether a top-level name is one of this version's packages or modules."""
        spec = importlib.machinery.PathFinder.find_spec(top, list(self.version.paths))
        return top in self.claimed or (spec is not None and spec.loader is not None)

    def forget(self) -> None:
        """Drops the modules, so that the next load imports them anew."""
        self.modules, self.claimed = {}, []

    def load(self) -> Registry:
        """Imports this version's plug-ins and returns a registry with what they register; call it while active."""
        registry = Registry()
        for plugin in self.version.plugins:
            where = f"plug-in {plugin} of {self.version.name}"
            if plugin.endswith(".py"):
                module = load_file(Path(plugin))
                self.claimed.append(module.__name__)
            else:
                try:
                    module = importlib.import_module(plugin)
                except Exception as error:
                    raise PluginFailed(f"{where} cannot be imported: {describe(error)}") from error
                file = getattr(module, "__file__", None)
                if not self.owns(file):
                    raise PluginFailed(f"{where} was found in {file}, not in {', '.join(self.version.paths)}")
            register(registry, module, where)
        return registry


class Isolation:
    """A finder that imports for the active side, and the switch between sides."""

    def __init__(self, sides: Sequence[Side]) -> None:
        self.sides = tuple(sides)
        self.active: Side | None = None
        self.barred = False
        self.late: str | None = None

    @contextlib.contextmanager
    def neither(self) -> Iterator[None]:
        """Keeps both sides' modules out of a block in which both run at once; raises LateImport where it wants one."""
        self.switch(None)
        self.barred, self.late = True, None
        try:
            yield
        finally:
            self.barred = False
        # Also where the specimen took the error for a package that is not installed.
        if self.late is not None:
            raise LateImport(self.late)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Finds a module of the active side; Python calls this for every module that is not loaded yet."""
        side = self.active
        top = name.partition(".")[0]
        if self.barred and any(other.has(top) for other in self.sides):
            self.late = name
            raise LateImport(f"{name} is imported while a step runs")
        if side is None or top in _OURS or top in sys.stdlib_module_names:
            return None
        if path is None:
            spec = importlib.machinery.PathFinder.find_spec(name, list(side.version.paths), target)
            if spec is not None and spec.loader is None and importlib.machinery.PathFinder.find_spec(name):
                return None  # a folder that is no package must not hide an installed one of its name
        elif any(side.owns(f"{place}/") for place in path):
            spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        else:
            return None
        if spec is not None:
            side.claimed.append(name)
        return spec

    def switch(self, side: Side | None) -> None:
        """Makes a side the one whose modules `sys.modules` holds; None for neither."""
        if side is self.active:
            return
        if self.active is not None:
            for name in self.active.claimed:
                module = sys.modules.pop(name, None)
                if module is not None:
                    self.active.modules[name] = module
        self.active = side
        if side is not None:
            sys.modules.update(side.modules)

    @contextlib.contextmanager
    def inside(self, side: Side) -> Iterator[None]:
        """Makes a side active for a block."""
        self.switch(side)
        try:
            yield
        finally:
            self.switch(None)


@contextlib.contextmanager
def isolated(sides: Sequence[Side]) -> Iterator[Isolation]:
    """Installs the finder of some sides for a block."""
    isolation = Isolation(sides)
    sys.meta_path.insert(0, isolation)
    try:
        yield isolation
    finally:
        isolation.switch(None)
        sys.meta_path.remove(isolation)


def shared_names(version: Version) -> list[str]:
    """Returns what could be imported from a version's roots, but is loaded from elsewhere and shared already.

    Nothing but the instrument and what it needs is loaded then: a version of one of those cannot be told apart.
    """
    found = {
        entry.stem
        for root in version.paths
        for entry in Path(root).iterdir()
        if (entry / "__init__.py").is_file() or entry.suffix == ".py"
    }
    return sorted((found - _OURS - set(sys.stdlib_module_names)) & set(sys.modules))


def strangers(side: Side, others: Sequence[Side], objects: Sequence[Any]) -> list[str]:
    """Returns which of a side's objects run code of another side: the names of their functions."""
    found = []
    for kind in {type(thing) for thing in objects}:
        for base in kind.__mro__:
            for name, value in vars(base).items():
                code = getattr(getattr(value, "__wrapped__", value), "__code__", None)
                if isinstance(code, CodeType) and any(other.owns(code.co_filename) for other in others):
                    found.append(f"{side.name}'s {kind.__qualname__}.{name} is {code.co_filename}")
    return found
