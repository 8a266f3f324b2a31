"""The timing core: every time that this project reports is taken by `take` below."""

from __future__ import annotations

import contextlib
import gc
import random
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bench.data.metric import STEP
from bench.run.build import Step
from bench.run.clock import Clock, Span

# Warm-up ends when the median of a window is no longer clearly below that of the window before: what warms up gets
# faster. A window lasts 20 ms, so that it outlasts what briefly disturbs a fast step, and holds two steps of a slow
# one, for which more would be most of the measurement; 10 % is what such medians differ by on a loaded machine.
WINDOW_S = 0.02
WINDOW_STEPS = 2
AGREEMENT = 0.10
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


def take(step: Step, clock: Clock, seconds: float, order: random.Random) -> Taken:
    """Warms a step up and times it for `seconds`, phased and plain steps in random order.

    A phased step is marked (and synchronised) at every phase edge, so that its spans add up to the whole exactly; a
    plain step is marked at its two ends only. Both run in pairs, so that they see the same machine.
    """
    samples: dict[str, list[float]] = {}
    begun = clock.mark()
    with quiet_collector():
        warmup_steps, settled = _warm_up(step, clock, seconds * WARMUP_SHARE)
        index, pairs = warmup_steps, 0
        while pairs < LEAST_PAIRS or clock.span(begun, clock.mark()).wall < seconds:
            kinds = [_phased, _plain]
            order.shuffle(kinds)
            for kind in kinds:
                loss, spans = kind(step, clock, index)
                index += 1
                for name, span in spans:
                    samples.setdefault(name, []).append(span.wall)
                    samples.setdefault(f"{name}.cpu", []).append(span.cpu)
            pairs += 1
    return Taken(
        warmup_steps=warmup_steps,
        settled=settled,
        samples={name: tuple(values) for name, values in samples.items()},
        last_loss=float(loss.detach()),
    )


def _phased(step: Step, clock: Clock, index: int) -> tuple[Any, list[tuple[str, Span]]]:
    marks = [clock.mark()]
    step.zero_grad()
    marks.append(clock.mark())
    loss = step.forward(index)
    marks.append(clock.mark())
    if step.trains:
        step.backward(loss)
        marks.append(clock.mark())
        step.optimize()
        marks.append(clock.mark())
    names = ("zero_grad", *step.phases)
    return loss, [(name, clock.span(a, b)) for name, a, b in zip(names, marks, marks[1:], strict=False)]


def _plain(step: Step, clock: Clock, index: int) -> tuple[Any, list[tuple[str, Span]]]:
    start = clock.mark()
    loss = step.run(index)
    return loss, [(STEP, clock.span(start, clock.mark()))]


def _warm_up(step: Step, clock: Clock, limit: float) -> tuple[int, bool]:
    begun = clock.mark()
    times: list[float] = []
    while True:
        times.append(_plain(step, clock, len(times))[1][0][1].wall)
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
        if total >= WINDOW_S and count >= WINDOW_STEPS:
            return count
    return len(times)


@contextlib.contextmanager
def quiet_collector() -> Iterator[None]:
    """Keeps Python's garbage collector out of a timed block; what it would have freed is freed before and after."""
    gc.collect()
    was_enabled = gc.isenabled()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()
