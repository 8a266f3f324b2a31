"""The line profiler, read after every step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType

from line_profiler import LineProfiler

# A function in the profiler's table: its file, and the line it begins at.
Place = tuple[str, int]
Times = dict[Place, dict[int, tuple[int, float]]]


class Recorder:
    """Records hits and seconds of the lines of some functions, for as long as it is on."""

    def __init__(self, functions: Sequence[FunctionType]) -> None:
        self._profiler = LineProfiler()
        for function in functions:
            self._profiler.add_callable(function)
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
