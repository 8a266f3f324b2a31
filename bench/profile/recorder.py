"""The line profiler, read after every step."""

from __future__ import annotations

import itertools
import opcode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import CellType, CodeType, FunctionType

from line_profiler import LineProfiler

from bench.profile.functions import Target

# A function in the profiler's table: its file, and the line it begins at.
Place = tuple[str, int]
Times = dict[Place, dict[int, tuple[int, float]]]
# line_profiler tells functions apart by their bytecode, to which it adds instructions that never run. It takes code
# that ends in some for code that it knows; these are more than it would ever add itself.
_NOTHING = bytes([opcode.opmap["NOP"], 0])
_padding = itertools.count(500)


class Recorder:
    """Records hits and seconds of the lines of some functions, for as long as it is on.

    Functions get code of their own for this, which does the same; `codes` is that code, target by target.
    """

    def __init__(self, targets: Sequence[Target]) -> None:
        self._profiler = LineProfiler()
        for target in targets:
            _distinguish_inner(target)
        for target in targets:
            if target.path:
                self._profiler.add_function(_never_called(target.code()))
            else:
                self._profiler.add_callable(target.owner)
        self.codes: dict[CodeType, Target] = {target.code(): target for target in targets}
        self._before: Times = {}

    @contextmanager
    def on(self) -> Iterator[None]:
        """Records what this thread does in a block."""
        self._profiler.enable_by_count()
        try:
            yield
        finally:
            self._profiler.disable_by_count()

    def read(self) -> Times:
        """Returns what was recorded since it was read last: hits and seconds by function and line."""
        stats = self._profiler.get_stats()
        now: Times = {
            (file, first): {line: (hits, time * stats.unit) for line, hits, time in lines}
            for (file, first, _), lines in stats.timings.items()
        }
        before, self._before = self._before, now
        return {
            place: {
                line: (hits - old[0], seconds - old[1])
                for line, (hits, seconds) in lines.items()
                if hits > (old := before.get(place, {}).get(line, (0, 0.0)))[0]
            }
            for place, lines in now.items()
        }


def _distinguish_inner(target: Target) -> None:
    """Gives the code of a function that is defined inside of another one instructions that never run, once."""
    if target.path and not target.code().co_code.endswith(_NOTHING):
        inner = target.code()
        padded = inner.replace(co_code=inner.co_code + _NOTHING * next(_padding))
        target.owner.__code__ = _replaced(target.owner.__code__, target.path, padded)


def _replaced(code: CodeType, path: Sequence[int], inner: CodeType) -> CodeType:
    """Returns code with other code at a place among its constants."""
    if not path:
        return inner
    constants = list(code.co_consts)
    constants[path[0]] = _replaced(constants[path[0]], path[1:], inner)
    return code.replace(co_consts=tuple(constants))


def _never_called(code: CodeType) -> FunctionType:
    """Returns a function of some code: the profiler takes functions, and watches their code."""
    return FunctionType(code, {}, closure=tuple(CellType() for _ in code.co_freevars))
