"""Plug-ins by all three doors: entry points (lowbit's own among them), files, and the environment variable."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from bench.errors import PluginFailed, StepbenchError
from bench.plugin import Registry

GROUP = "stepbench.plugins"
VARIABLE = "STEPBENCH_PLUGINS"


def load(files: Iterable[str] = ()) -> Registry:
    """Returns a fresh registry with every installed plug-in, those in STEPBENCH_PLUGINS, and the given files.

    STEPBENCH_PLUGINS holds paths separated by the system's path separator. A file named twice is loaded once.
    Raises PluginFailed with the plug-in and the reason, and DuplicateName for a name that is taken.
    """
    registry = Registry()
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        where = f"plug-in {entry.name!r} ({entry.value})"
        try:
            module = entry.load()
        except Exception as error:
            raise PluginFailed(f"{where} cannot be imported: {describe(error)}") from error
        register(registry, module, where)
    variable = filter(None, os.environ.get(VARIABLE, "").split(os.pathsep))
    for path in dict.fromkeys(Path(file).resolve() for file in (*variable, *files)):
        register(registry, load_file(path), f"plug-in {path}")
    return registry


def load_file(path: Path) -> ModuleType:
    """Imports a plug-in file under a name that is made from its path, so that two files never collide."""
    if not path.is_file():
        raise PluginFailed(
            f"plug-in {path}: there is no such file; give the path of a Python file with register(registry)"
        )
    name = f"stepbench_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise PluginFailed(f"plug-in {path}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    # Pickles, dataclasses and inspect look a module up by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise PluginFailed(f"plug-in {path} cannot be imported: {describe(error)}") from error
    return module


def register(registry: Registry, module: ModuleType, where: str) -> None:
    """Lets a plug-in module register its parts."""
    function = getattr(module, "register", None)
    if not callable(function):
        raise PluginFailed(f"{where} has no function register(registry); see docs/adding-a-specimen.md")
    try:
        function(registry)
    except StepbenchError:
        raise
    except Exception as error:
        raise PluginFailed(f"{where}: register(registry) raised {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Returns an error on one line: its type, its message, and the last place of its traceback."""
    lines = str(error).strip().splitlines()
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace else ""
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}{place}"
