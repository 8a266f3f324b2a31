from __future__ import annotations

import itertools

import pytest
import torch

from bench.run.clock import Span
from lowbit.deploy.roofline import SIDE, Bound, Machine, bound, measure
from tests.lowbit.deploy.samples import MACHINE, cost


class Steady:
    """A clock by which everything takes a tenth of a second of the wall, and half of that of the thread."""

    def __init__(self):
        self.count = itertools.count()

    def mark(self):
        return next(self.count)

    def span(self, start, end):
        return Span(0.1 * (end - start), 0.05 * (end - start))


def test_a_layer_takes_the_longer_of_its_operations_and_its_bytes():
    # 7 kB at 10 GB/s are 0.7 microseconds, 2e6 operations at 100 Gop/s are 20.
    assert bound(cost(), MACHINE) == Bound(seconds=2e-5, by="compute")
    assert bound(cost(operations=2000), MACHINE) == Bound(seconds=7e-7, by="memory")


def test_integers_have_a_peak_of_their_own_by_what_is_computed_with():
    assert bound(cost(arithmetic="quint8"), MACHINE) == Bound(seconds=5e-6, by="compute")
    assert bound(cost(weights={"int8": 250}), MACHINE).seconds == 2e-5


def test_without_a_peak_or_without_work_there_is_no_bound():
    assert bound(cost(arithmetic="float64"), MACHINE) is None
    assert bound(cost(operations=0, weights={}, inputs={}, outputs={}), MACHINE) is None


@pytest.mark.parametrize(("threads", "seconds"), [(1, 0.05), (2, 0.1)])
def test_peaks_are_rates_of_the_fastest_run_and_one_thread_counts_its_own_time(monkeypatch, threads, seconds):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    found = measure(Steady())
    assert isinstance(found, Machine)
    assert found.peak["float32"] == pytest.approx(2 * SIDE**3 / seconds)
    assert found.bandwidth == pytest.approx(2 * 2**26 / seconds)


def test_a_kernel_that_a_device_has_not_is_no_peak(monkeypatch):
    def missing(*_):
        raise RuntimeError("not implemented")

    monkeypatch.setattr(torch, "_int_mm", missing)
    assert "int8" not in measure(Steady()).peak
