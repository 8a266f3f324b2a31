"""The decorator that marks a function for line profiling."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, TypeVar

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])
# By where they stand, so that a function inside of another one is one mark, however often it is made; with the
# function that was marked last, weakly: a module that was imported anew can go.
_marked: dict[tuple[str, int, str], weakref.ref[FunctionType]] = {}


def lines(function: AnyFunction) -> AnyFunction:
    """Marks a function, so that `stepbench profile lines` shows its lines wherever a step calls it.

    Returns the very thing it was given: while nothing is profiled, a call of it costs what it costs without this.
    Above a decorator that wraps, the function inside is marked. Raises TypeError for what has no lines, such as len.
    """
    found = inspect.unwrap(getattr(function, "__func__", function))
    if not isinstance(found, FunctionType):
        raise TypeError(f"{function!r} has no lines of Python; @lines goes above the def of a function")
    _marked[_place(found.__code__)] = weakref.ref(found)
    return function


def marked(owned: Callable[[str], bool]) -> list[tuple[FunctionType, tuple[int, ...]]]:
    """Returns the marked functions in files that are `owned`, as `Target` has them: an owner, and the path from it.

    One that is made anew with each call of the function around it is found in the code of that, among all objects.
    """
    wanted = {place: reference() for place, reference in _marked.items() if owned(place[0])}
    found: list[tuple[FunctionType, tuple[int, ...]]] = [(one, ()) for one in wanted.values() if one is not None]
    inside = {place for place in wanted if "<locals>" in place[2]}
    if inside:
        found += [
            (thing, path)
            for thing in gc.get_objects()
            if type(thing) is FunctionType and owned(thing.__code__.co_filename)
            for path, code in inner(thing.__code__)
            if path and _place(code) in inside
        ]
    return found


def _place(code: CodeType) -> tuple[str, int, str]:
    return code.co_filename, code.co_firstlineno, code.co_qualname


def inner(code: CodeType, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], CodeType]]:
    """Yields code and that of all functions defined in it, each with the path to it through constants.

    Comprehensions are lines of the function that they stand in.
    """
    yield path, code
    for index, constant in enumerate(code.co_consts):
        if isinstance(constant, CodeType) and (constant.co_name == "<lambda>" or not constant.co_name.startswith("<")):
            yield from inner(constant, (*path, index))
