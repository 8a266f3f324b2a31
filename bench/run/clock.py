"""The clocks: the only place where time is read and where a device is waited for."""

from __future__ import annotations

import itertools
import resource
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import torch


class Span(NamedTuple):
    """Time between two marks, in seconds: by the wall, and of the calling thread's CPU."""

    wall: float
    cpu: float


class Clock(Protocol):
    """What the timing core asks of a clock; tests bring their own."""

    name: str

    def mark(self) -> Any:
        """Waits until the device is idle and returns a mark of the present moment."""

    def note(self) -> Any:
        """Returns a mark of the present moment without waiting for the device, from any thread of the step."""

    def span(self, start: Any, end: Any) -> Span:
        """Returns the time between two marks."""


_wall, _cpu = time.perf_counter_ns, time.thread_time_ns


class HostClock:
    """Reads the monotonic clock and the CPU clock of the calling thread, for work on the CPU."""

    name = "perf_counter + thread_time"

    def mark(self) -> tuple[int, int]:
        """Returns both clocks in nanoseconds; there is no device to wait for."""
        return _wall(), _cpu()

    def note(self) -> tuple[int, int]:
        """Returns a mark: on the CPU the backward pass runs in the thread that called it."""
        return self.mark()

    def span(self, start: tuple[int, int], end: tuple[int, int]) -> Span:
        """Returns the difference of two marks."""
        return Span((end[0] - start[0]) * 1e-9, (end[1] - start[1]) * 1e-9)


class CudaClock:
    """Records a CUDA event and waits for it, so that a span holds all work launched inside it and no other.

    The wall time of a span is that between its two events, as the device saw them; the host's launch overhead is
    inside, because the device idles while it waits for it.
    """

    name = "cuda events + thread_time"

    def __init__(self, device: torch.device, cuda: Any = None) -> None:
        import torch

        self._device = device
        self._cuda = torch.cuda if cuda is None else cuda
        self._thread = time.pthread_getcpuclockid(threading.get_ident())

    def mark(self) -> tuple[Any, int]:
        """Records an event on the current stream, waits for the whole device, and reads the thread's CPU clock."""
        event = self._cuda.Event(enable_timing=True)
        event.record(self._cuda.current_stream(self._device))
        self._cuda.synchronize(self._device)
        return event, time.thread_time_ns()

    def note(self) -> tuple[Any, int]:
        """Records an event and does not wait for it; the CPU clock is still that of the thread that made this clock.

        A backward pass on the device runs in a thread of its own, where its hooks note the time.
        """
        event = self._cuda.Event(enable_timing=True)
        event.record(self._cuda.current_stream(self._device))
        return event, time.clock_gettime_ns(self._thread)

    def span(self, start: tuple[Any, int], end: tuple[Any, int]) -> Span:
        """Returns the time between two events and of the thread's CPU."""
        return Span(start[0].elapsed_time(end[0]) * 1e-3, (end[1] - start[1]) * 1e-9)


def clock_for(device: str) -> Clock:
    """Returns the clock that suits a device."""
    if device == "cpu":
        return HostClock()
    import torch

    return CudaClock(torch.device(device))


def resolution(clock: Clock, readings: int = 2000) -> float:
    """Returns the smallest step seen between successive readings of a clock, in seconds."""
    marks = [clock.mark() for _ in range(readings)]
    steps = [clock.span(a, b).wall for a, b in itertools.pairwise(marks)]
    positive = [step for step in steps if step > 0]
    return min(positive, default=float("inf"))


class Activity(NamedTuple):
    """What the calling thread did so far: its CPU time, that of all threads of its process, and how often it waited."""

    thread_s: float
    process_s: float
    waits: int


def activity() -> Activity:
    """Reads the CPU clocks and how often the calling thread gave up its core of its own accord."""
    return Activity(time.thread_time(), time.process_time(), resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw)


def now() -> float:
    """Returns seconds on the monotonic clock of this machine; processes share its origin."""
    return time.monotonic()
