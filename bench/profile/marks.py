"""The decorator that marks a function for line profiling."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
# Weakly, so that a version of a module that was imported anew can go.
_marked: list[weakref.ref[Any]] = []


def lines(function: AnyFunction) -> AnyFunction:
    """Marks a function, so that `stepbench profile lines` shows its lines wherever a step calls it.

    Returns the very function it was given: while nothing is profiled, a call of it costs what it costs without this.
    Put it below decorators that wrap the function. Raises TypeError for what has no lines, as built-in functions.
    """
    if not hasattr(function, "__code__"):
        raise TypeError(f"{function!r} is no Python function; @lines goes directly above its def")
    _marked.append(weakref.ref(function))
    return function


def marked() -> list[Any]:
    """Returns the marked functions that still exist."""
    _marked[:] = [reference for reference in _marked if reference() is not None]
    return [function for reference in _marked if (function := reference()) is not None]
