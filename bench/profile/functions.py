"""Which functions of a step are profiled: its forward, its optimizer's step, its hooks, and those that are named."""

from __future__ import annotations

import functools
import inspect
import pkgutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch

from bench.data.profile import Role
from bench.errors import UnknownName
from bench.plugin import KINDS, Registry
from bench.profile.marks import inner, marked
from bench.run.build import Step

_LIBRARIES = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
_INSTRUMENT = Path(__file__).parents[1]
FORWARD_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
HOOKS = (*FORWARD_HOOKS, "_backward_pre_hooks", "_backward_hooks")


@dataclass(frozen=True)
class Target:
    """A function to be profiled, and why.

    `owner` is the function itself; or the one that it is defined in, with the `path` to it through constants of code.
    """

    owner: FunctionType
    path: tuple[int, ...]
    role: Role

    def code(self) -> CodeType:
        """Returns the code that runs when it is called."""
        code = self.owner.__code__
        for index in self.path:
            code = code.co_consts[index]
        return code

    @property
    def name(self) -> str:
        """The function's name as its class and module know it."""
        return self.code().co_qualname.replace(".<locals>", "")


def targets(step: Step, names: Sequence[str], owned: Callable[[str], bool]) -> list[Target]:
    """Returns the functions to be profiled of a step that has run; each once.

    `names` stand in for what is profiled by default. Marked functions are always profiled, where their file is not of
    another version: `owned` says which are the subject's. Raises UnknownName for a name that no loaded function has.
    """
    found = [target for name in names for target in _named(name, owned)] if names else list(_default(step))
    found += [Target(function, path, "marked") for function, path in marked(owned)]
    # By identity: functions of equal text are two.
    return list({id(target.code()): target for target in reversed(found)}.values())[::-1]


def hook_tables(module: torch.nn.Module, *names: str) -> list[dict[int, Callable[..., Any]]]:
    """Returns a module's own tables of hooks; torch has no public door to them."""
    return [getattr(module, name) for name in names]


def hook_name(hook: Callable[..., Any]) -> str:
    """Returns what a hook is called by: its function's name."""
    function = _function(hook)
    return function.__qualname__.replace(".<locals>", "") if function else type(hook).__qualname__


def _default(step: Step) -> Iterator[Target]:
    forward = _function(step.module.forward)
    if forward is not None:
        yield Target(forward, (), "forward")
    optimize = _function(step.optimizer.step) if step.optimizer is not None else None
    if optimize is not None:
        yield Target(optimize, (), "optimize")
    for module in step.module.modules():
        for hook in (hook for table in hook_tables(module, *HOOKS) for hook in table.values()):
            function = _function(hook)
            if function is not None:
                # A hook's inner functions, too: what waits for the gradient of an output is made inside of it.
                yield from (Target(function, path, "hook") for path, _ in inner(function.__code__))


def _function(given: Any) -> FunctionType | None:
    """Returns the Python function that runs when something is called, None where there is none."""
    while isinstance(given, functools.partial):
        given = given.func
    if not isinstance(given, FunctionType | MethodType):
        given = type(given).__call__
    given = inspect.unwrap(getattr(given, "__func__", given))
    return given if isinstance(given, FunctionType) else None


def _named(name: str, owned: Callable[[str], bool]) -> list[Target]:
    """Returns the functions of a name: of the specimens, or wherever a full name leads to."""
    known = [
        (f"{module.__name__}.{code.co_qualname}".replace(".<locals>", ""), Target(function, path, "named"))
        for module in _specimens(owned)
        for function in _functions(module)
        for path, code in inner(function.__code__)
    ]
    found = [target for full, target in known if f".{full}".endswith(f".{name}")]
    if not found and "." in name:
        try:
            reached = _function(pkgutil.resolve_name(name))
        except (ImportError, AttributeError, ValueError):
            reached = None
        found = [Target(reached, (), "named")] if reached is not None else []
    if not found:
        raise UnknownName("function", name, {target.name for _, target in known if "__" not in target.name})
    return found


def _specimens(owned: Callable[[str], bool]) -> list[ModuleType]:
    return [module for module in list(sys.modules.values()) if owned(getattr(module, "__file__", None) or "")]


def specimens_of(registry: Registry) -> Callable[[str], bool]:
    """Returns what tells the files of a registry's plug-ins from all others.

    Theirs are those of the packages that registered something, and whatever is neither installed nor the instrument:
    modules beside a plug-in file.
    """
    tops = {part.factory.__module__.partition(".")[0] for kind in KINDS for part in registry.parts(kind)}
    homes = {
        str(Path(file).parent) + "/"
        for top in tops
        if (file := getattr(sys.modules.get(top), "__file__", None)) and Path(file).name == "__init__.py"
    }

    def owned(file: str) -> bool:
        path = Path(file)
        installed = file.startswith(_LIBRARIES) or "site-packages" in path.parts
        return file.startswith(tuple(homes)) or (
            file.endswith(".py") and not installed and not path.is_relative_to(_INSTRUMENT)
        )

    return owned


def _functions(module: ModuleType) -> Iterator[FunctionType]:
    for thing in list(vars(module).values()):
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        members = vars(thing).values() if isinstance(thing, type) else [thing]
        for member in members:
            inner = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            function = inspect.unwrap(inner) if callable(inner) else None
            if isinstance(function, FunctionType):
                yield function
