from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from bench.run.clock import CudaClock, HostClock, clock_for, now, resolution
from tests.fakes import FakeClock


def test_a_host_span_counts_wall_time_and_the_threads_own_cpu_time():
    clock = HostClock()
    start = clock.mark()
    sum(range(200_000))
    wall, cpu = clock.span(start, clock.mark())
    assert 0 < cpu <= wall * 1.5
    assert clock.span(start, start) == (0.0, 0.0)


class FakeCuda:
    """Stands for torch.cuda: the device finishes its queue only when it is waited for."""

    def __init__(self):
        self.log = []
        self.time_ms = 0.0

    def Event(self, *, enable_timing):  # noqa: N802 - torch's name
        assert enable_timing
        cuda = self

        class Event:
            def record(self, stream):
                cuda.log.append(("record", stream))
                self.at = cuda.time_ms

            def elapsed_time(self, other):
                return other.at - self.at

        return Event()

    def current_stream(self, device):
        return f"stream of {device}"

    def synchronize(self, device):
        self.log.append(("synchronize", str(device)))


def test_a_cuda_mark_records_an_event_and_then_waits_for_the_device():
    cuda = FakeCuda()
    clock = CudaClock(torch.device("cuda:0"), cuda)
    start = clock.mark()
    assert cuda.log == [("record", "stream of cuda:0"), ("synchronize", "cuda:0")]
    cuda.time_ms = 12.5
    assert clock.span(start, clock.mark()).wall == pytest.approx(0.0125)


def test_a_cuda_note_waits_for_nothing_and_keeps_to_the_cpu_clock_of_its_maker():
    cuda = FakeCuda()
    clock = CudaClock(torch.device("cuda:0"), cuda)
    start = clock.mark()
    cuda.log.clear()
    with ThreadPoolExecutor(1) as other:
        noted = other.submit(clock.note).result()
    assert cuda.log == [("record", "stream of cuda:0")]
    assert 0 <= clock.span(start, noted).cpu < 10


def test_a_host_note_is_a_mark():
    clock = HostClock()
    start = clock.mark()
    assert clock.span(start, clock.note()).wall > 0


def test_resolution_is_the_smallest_positive_step_and_infinite_for_a_clock_that_stands():
    assert resolution(FakeClock(), readings=5) == float("inf")
    assert 0 < resolution(HostClock()) < 1e-3


def test_the_cpu_gets_the_host_clock():
    assert isinstance(clock_for("cpu"), HostClock)
    assert now() <= now()
