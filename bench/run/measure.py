"""The timing core: every time that this project reports is taken by `take` below."""

from __future__ import annotations

import contextlib
import gc
import itertools
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.data.metric import COMMUNICATE, STEP
from bench.run.build import Step
from bench.run.clock import Clock

# Warm-up ends when the median of a window is no longer clearly below that of the window before: what warms up gets
# faster. A window lasts 20 ms, so that it outlasts what briefly disturbs a fast step, and holds two steps of a slow
# one, for which more would be most of the measurement, or one of 100 ms; 15 % is what such medians differ by on a
# loaded machine.
WINDOW_S = 0.02
WINDOW_STEPS = 2
LONG_STEP_S = 0.1
AGREEMENT = 0.15
# A step that never settles may not eat the time of the measurement: the replicate is marked and goes on.
WARMUP_SHARE = 0.5
# Below two phased and two plain steps there is no median to speak of, so these are taken however slow they are.
LEAST_PAIRS = 2


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Samples of one replicate in the order they were taken, and how its warm-up went.

    `last_loss` is the loss of the last step, read after the clock has stopped.
    """

    warmup_steps: int
    settled: bool
    samples: dict[str, tuple[float, ...]]
    last_loss: float


def take(
    step: Step, clock: Clock, seconds: float, order: random.Random, ahead: Callable[[], None] = lambda: None
) -> Taken:
    """Warms a step up and times it for `seconds`, phased and plain steps in random order; calls `ahead` before each.

    A phased step is marked (and synchronised) at every phase edge, so that its spans add up to the whole exactly; a
    plain step is marked at its two ends only. Both run in pairs, so that they see the same machine.
    """
    timed: list[Timed] = []
    begun = clock.mark()
    with quiet_collector():
        warmup_steps, settled = _warm_up(step, clock, seconds * WARMUP_SHARE, ahead)
        index, now = warmup_steps, begun
        while len(timed) < 2 * LEAST_PAIRS or clock.span(begun, now).wall < seconds:
            kinds = [phased, plain]
            order.shuffle(kinds)
            for kind in kinds:
                ahead()
                loss, marks = kind(step, clock, index)
                timed.append((kind, marks))
                index += 1
            now = marks[-1]
    return Taken(
        warmup_steps=warmup_steps,
        settled=settled,
        samples=spans(step, clock, timed),
        last_loss=float(loss.detach()),
    )


def phased(step: Step, clock: Clock, index: int) -> tuple[Any, list[Any]]:
    """Runs a step with a mark at every phase edge; returns its loss and the marks."""
    marks = [clock.mark()]
    step.zero_grad()
    marks.append(clock.mark())
    loss = step.forward(index)
    marks.append(clock.mark())
    if step.trains:
        if COMMUNICATE in step.phases:
            marks.append(step.backward_noted(loss, clock))
        else:
            step.backward(loss)
        marks.append(clock.mark())
        step.optimize()
        marks.append(clock.mark())
    return loss, marks


def plain(step: Step, clock: Clock, index: int) -> tuple[Any, list[Any]]:
    """Runs a step with a mark at either end; returns its loss and the marks."""
    start = clock.mark()
    loss = step.run(index)
    return loss, [start, clock.mark()]


def by_phase(step: Step, clock: Clock, index: int) -> Iterator[tuple[Any, Any]]:
    """Runs a step one phase at a time, zero_grad first, and yields the marks around each: others may run between."""
    start = clock.mark()
    step.zero_grad()
    yield start, clock.mark()
    start = clock.mark()
    loss = step.forward(index)
    yield start, clock.mark()
    if step.trains:
        start = clock.mark()
        step.backward(loss)
        yield start, clock.mark()
        start = clock.mark()
        step.optimize()
        yield start, clock.mark()


Timed = tuple[Callable[..., Any], list[Any]]


def spans(step: Step, clock: Clock, timed: Sequence[Timed]) -> dict[str, tuple[float, ...]]:
    """Turns marks into samples by metric, in seconds; done when all steps have run, so that it costs none of them."""
    samples: dict[str, list[float]] = {}
    for kind, marks in timed:
        names = (STEP,) if kind is plain else ("zero_grad", *step.phases)
        edges = marks if kind is by_phase else itertools.pairwise(marks)
        for name, (start, end) in zip(names, edges, strict=True):
            wall, cpu = clock.span(start, end)
            samples.setdefault(name, []).append(wall)
            samples.setdefault(f"{name}.cpu", []).append(cpu)
    return {name: tuple(values) for name, values in samples.items()}


def _warm_up(step: Step, clock: Clock, limit: float, ahead: Callable[[], None]) -> tuple[int, bool]:
    begun = clock.mark()
    times: list[float] = []
    while True:
        ahead()
        times.append(clock.span(*plain(step, clock, len(times))[1]).wall)
        window = _window(times)
        if len(times) >= 2 * window:
            before = statistics.median(times[-2 * window : -window])
            after = statistics.median(times[-window:])
            if after >= (1 - AGREEMENT) * before:
                return len(times), True
        if len(times) >= 2 * WINDOW_STEPS and clock.span(begun, clock.mark()).wall >= limit:
            return len(times), False


def _window(times: list[float]) -> int:
    """Returns how many of the latest steps make a window."""
    total = 0.0
    for count, time in enumerate(reversed(times), 1):
        total += time
        if total >= LONG_STEP_S or (total >= WINDOW_S and count >= WINDOW_STEPS):
            return count
    return len(times)


@contextlib.contextmanager
def quiet_collector() -> Iterator[None]:
    """Keeps Python's garbage collector out of a timed block; what it would have freed is freed before and after."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
