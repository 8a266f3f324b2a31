"""How long each layer takes: marks of a clock at the edges of layers, and forwards without marks in between.

Marks cost time themselves. What layers take is therefore never scaled to the whole: both are measured, in turns, and
their difference is a result.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from lowbit.deploy.edges import Place, Watch
from lowbit.pipeline.statistics import Interval, mean

# Each subject is run so often however slow it is: below there is no median to speak of.
LEAST = 6
# This share of the time, and two runs at least, warm up and are forgotten.
WARMUP_SHARE, WARMUP = 0.1, 2
# Stretches of consecutive runs whose medians stand for independent ones: neighbours share what the machine does.
STRETCHES = 8


class Span(Protocol):
    """The time between two marks, in seconds."""

    @property
    def wall(self) -> float:
        """Of the clock on the wall."""

    @property
    def cpu(self) -> float:
        """In which the calling thread ran."""


class Clock(Protocol):
    """What is asked of a clock: marks of the present moment, for which it waits until the device is idle, and spans."""

    def mark(self) -> Any:
        """Returns a mark."""

    def span(self, start: Any, end: Any) -> Span:
        """Returns the time between two marks."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model in eval mode and its batches, each one argument; one that is not `seen_inside` is timed as a whole only.

    A compiled model is one: its layers are not its code any more.
    """

    module: nn.Module
    batches: Sequence[Any]
    seen_inside: bool = True


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of forwards without marks, of forwards with marks, and of each place in the latter, in their order.

    The seconds of a place are those in which it was the innermost, so that places add up to a forward with marks. `cpu`
    and `places_cpu` are those of forwards without marks, and of places, in which the thread ran.
    """

    whole: tuple[float, ...]
    cpu: tuple[float, ...]
    marked: tuple[float, ...]
    places: Mapping[str, tuple[float, ...]]
    places_cpu: Mapping[str, tuple[float, ...]]


def take(subjects: Sequence[Subject], clock: Clock, seconds: float, order: random.Random) -> list[Times]:
    """Runs models for some seconds each, forwards with and without marks in random order, and returns their times."""
    takers = [_Taker(subject, clock) for subject in subjects]
    turns = [turn for taker in takers for turn in taker.turns]
    begun, limit, warm = clock.mark(), seconds * len(subjects), 0
    with torch.no_grad():
        for index in itertools.count():
            spent = clock.span(begun, clock.mark()).wall
            if index < WARMUP or spent < WARMUP_SHARE * limit:
                warm = index + 1
            elif index >= warm + LEAST and spent >= limit:
                break
            order.shuffle(turns)
            for turn in turns:
                turn(index)
    return [taker.times(warm) for taker in takers]


def median(samples: Sequence[float]) -> Interval:
    """Returns the median of samples in their order, and Student's t interval over stretches of them."""
    size = max(1, len(samples) // STRETCHES)
    stretches = [samples[start : start + size] for start in range(0, size * (len(samples) // size), size)]
    # Where a place takes no time at all by this clock, a nanosecond has a logarithm.
    found = mean([math.log(max(statistics.median(stretch), 1e-9)) for stretch in stretches])
    center = statistics.median(samples)
    if found.low is None or found.high is None:
        return Interval(center=center, low=None, high=None)
    return Interval(center=center, low=min(center, math.exp(found.low)), high=max(center, math.exp(found.high)))


class _Taker:
    def __init__(self, subject: Subject, clock: Clock) -> None:
        self.subject, self.clock = subject, clock
        self.turns = [self.plain, self.marked] if subject.seen_inside else [self.plain]
        self._marks = _Marks(clock)
        self._watch = Watch(subject.module, self._marks) if subject.seen_inside else None
        self._plain: list[tuple[Any, Any]] = []
        self._marked: list[list[tuple[Place | None, Any]]] = []

    def plain(self, index: int) -> None:
        batch = self.subject.batches[index % len(self.subject.batches)]
        start = self.clock.mark()
        self.subject.module(batch)
        self._plain.append((start, self.clock.mark()))

    def marked(self, index: int) -> None:
        assert self._watch is not None
        batch = self.subject.batches[index % len(self.subject.batches)]
        self._marks.events = []
        with self._watch:
            start = self.clock.mark()
            self.subject.module(batch)
            end = self.clock.mark()
        self._marked.append([(None, start), *self._marks.events, (None, end)])

    def times(self, warm: int) -> Times:
        spans = [self.clock.span(*marks) for marks in self._plain[warm:]]
        marked = self._marked[warm:]
        wall, cpu = ([self._exclusive(events, kind) for events in marked] for kind in ("wall", "cpu"))
        return Times(
            whole=tuple(span.wall for span in spans),
            cpu=tuple(span.cpu for span in spans),
            marked=tuple(self.clock.span(events[0][1], events[-1][1]).wall for events in marked),
            places=_by_place(wall),
            places_cpu=_by_place(cpu),
        )

    def _exclusive(self, events: Sequence[tuple[Place | None, Any]], kind: str) -> dict[str, float]:
        """Gives the time between two marks to the place that is innermost there."""
        stack, found = [""], {"": 0.0}
        for (place, start), (_, end) in itertools.pairwise(events):
            if place is not None:
                stack.append(place.path)
            elif len(stack) > 1:
                stack.pop()
            found[stack[-1]] = found.get(stack[-1], 0.0) + float(getattr(self.clock.span(start, end), kind))
        return found


def _by_place(runs: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, ...]]:
    names = dict.fromkeys(name for spans in runs for name in spans)
    return {name: tuple(spans.get(name, 0.0) for spans in runs) for name in names}


class _Marks:
    """Writes down when places begin (with the place) and end (without)."""

    def __init__(self, clock: Clock) -> None:
        self.events: list[tuple[Place | None, Any]] = []
        self._mark = clock.mark

    def enter(self, place: Place) -> None:
        self.events.append((place, self._mark()))

    def leave(self) -> None:
        self.events.append((None, self._mark()))
