"""What happens under a line: hooks of modules, operations of the dispatcher, events of Python's tracing."""

from __future__ import annotations

import functools
import statistics
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from bench.profile.functions import FORWARD_HOOKS, hook_name, hook_tables
from bench.run.clock import now

# A line that runs: the code of its function, and its number.
Spot = tuple[CodeType, int]
# Events by line and phase.
Counts = dict[Spot, dict[str, float]]
# Enough calls for a median.
DETOURS = 200
# Up to Python 3.11 line profilers are told of every line of every function, from 3.12 on of those they ask for.
TRACES_ALL = sys.version_info < (3, 12)


def spots(codes: Collection[CodeType]) -> set[Spot]:
    """Returns which lines of some functions are running in this thread, of all frames of its stack."""
    found = set()
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - the documented way to the stack, without its text
    while frame is not None:
        if frame.f_code in codes:
            found.add((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return found


class LineOperations(TorchDispatchMode):
    """Counts and times the operations under each line, other than views, less the detour through this mode."""

    def __init__(self, codes: Collection[CodeType], detour: float | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.codes = codes
        self.detour = _detour() if detour is None else detour
        self.seconds: list[float] = []
        self.found: dict[Spot, dict[str, list[float]]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Runs one operation and books it on the lines that it runs under."""
        begun = now()
        result = func(*args, **(kwargs or {}))
        seconds = max(0.0, now() - begun - self.detour)
        self.seconds.append(seconds)
        if not func.is_view:
            for spot in spots(self.codes):
                self.found.setdefault(spot, {}).setdefault(str(func.overloadpacket), []).append(seconds)
        return result


@functools.cache
def _detour() -> float:
    """Returns how much longer an operation takes when it is called from a mode: seconds of one that does little."""
    tensor = torch.zeros(1)
    plain: list[float] = []
    with torch.no_grad():
        for _ in range(DETOURS):
            begun = now()
            tensor.neg_()
            plain.append(now() - begun)
        timed = LineOperations((), detour=0.0)
        with timed:
            for _ in range(DETOURS):
                tensor.neg_()
    extra: float = statistics.median(timed.seconds) - statistics.median(plain)
    return max(0.0, extra)


@contextmanager
def timed_hooks(module: torch.nn.Module, codes: Collection[CodeType]) -> Iterator[dict[Spot, dict[str, float]]]:
    """Times the forward hooks of all modules for a block; gives seconds by line and hook."""
    found: dict[Spot, dict[str, float]] = {}

    def timed(hook: Callable[..., Any]) -> Callable[..., Any]:
        name = hook_name(hook)

        def run(*args: Any, **kwargs: Any) -> Any:
            begun = now()
            try:
                return hook(*args, **kwargs)
            finally:
                seconds = now() - begun
                for spot in spots(codes):
                    booked = found.setdefault(spot, {})
                    booked[name] = booked.get(name, 0.0) + seconds

        return run

    tables = [table for child in module.modules() for table in hook_tables(child, *FORWARD_HOOKS)]
    originals = [dict(table) for table in tables]
    for table in tables:
        table.update({key: timed(hook) for key, hook in table.items()})
    try:
        yield found
    finally:
        for table, original in zip(tables, originals, strict=True):
            table.update(original)


def count_events(codes: Collection[CodeType], phases: Iterable[str]) -> tuple[Counts, dict[str, float]]:
    """Counts the events that a line profiler is told of while phases run one after the other: by line, and in all.

    `phases` yields the name of each phase when it has run. A line's events are those between its beginning and the next
    one's in the same frame, as its time is.
    """
    total = 0
    lines: dict[Spot, float] = {}
    begun: dict[FrameType, tuple[int, int]] = {}

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal total
        ours = frame.f_code in codes
        total += ours or TRACES_ALL
        if ours and event in {"line", "return"}:
            if frame in begun:
                line, before = begun.pop(frame)
                lines[frame.f_code, line] = lines.get((frame.f_code, line), 0) + total - before
            if event == "line":
                begun[frame] = (frame.f_lineno, total)
        return trace

    by_line: Counts = {}
    by_phase: dict[str, float] = {}
    running = iter(phases)
    while True:
        total, lines = 0, {}
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            phase = next(running, None)
        finally:
            sys.settrace(before)
        if phase is None:
            return by_line, by_phase
        by_phase[phase] = by_phase.get(phase, 0) + total
        for spot, count in lines.items():
            known = by_line.setdefault(spot, {})
            known[phase] = known.get(phase, 0) + count
