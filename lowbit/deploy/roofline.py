"""What a machine can do at best, and how long a layer takes there if nothing else holds it up.

A layer takes at least the time of its operations at the peak rate, and that of its bytes at the bandwidth of memory,
whichever is longer (Williams, Waterman, Patterson, Communications of the ACM 52, 2009). Both are of this machine,
measured by kernels that do one thing only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from lowbit.deploy.layers import SMALL_INTEGERS, LayerCost
from lowbit.deploy.timing import Clock

# Products of square matrices of this side take few milliseconds: some slip between what else a machine does.
SIDE = 512
# Far more than caches hold, and little for any machine.
COPIED = 2**26
# Each kernel runs so long, and five times at least; the fastest counts: a peak is what can be reached.
SECONDS, LEAST = 0.3, 5
INT8 = "int8"

By = Literal["compute", "memory"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Peak rates in operations a second, by the dtype of operands, and the bandwidth of memory in bytes a second."""

    peak: Mapping[str, float]
    bandwidth: float

    def rate(self, arithmetic: str | None) -> float | None:
        """Returns the peak for a dtype; quantized ones are integers of 8 bits. None where there is none."""
        return None if arithmetic is None else self.peak.get(INT8 if arithmetic in SMALL_INTEGERS else arithmetic)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The least time in seconds, and what sets it."""

    seconds: float
    by: By


def bound(cost: LayerCost, machine: Machine) -> Bound | None:
    """Returns the least time of a layer; None for one that does nothing, or whose peak rate is not known."""
    rate = machine.rate(cost.arithmetic)
    if cost.operations and rate is None:
        return None
    return longest(cost.operations / rate if rate else 0.0, (cost.loaded + cost.stored) / machine.bandwidth)


def longest(compute: float, memory: float) -> Bound | None:
    """Returns the longer of two times with its name; None if both are none."""
    if not max(compute, memory):
        return None
    return Bound(seconds=compute, by="compute") if compute > memory else Bound(seconds=memory, by="memory")


def measure(clock: Clock, device: str = "cpu") -> Machine:
    """Measures the peaks and the bandwidth of a device with the threads that torch has, in some two seconds.

    fp32 and bf16 by products of matrices, integers by `torch._int_mm` where it runs, bandwidth by copying: a byte that
    is copied is one that is loaded and one that is stored. A single thread is measured by its own time: what others
    take from it is no property of the machine.
    """
    alone = device == "cpu" and torch.get_num_threads() == 1

    def fastest(kernel: Callable[[], object]) -> float:
        times: list[float] = []
        begun = clock.mark()
        while len(times) < LEAST or clock.span(begun, clock.mark()).wall < SECONDS:
            start = clock.mark()
            kernel()
            span = clock.span(start, clock.mark())
            times.append(span.cpu if alone else span.wall)
        return min(times)

    peak = {}
    for name, make in (("float32", _gemm(torch.float32)), ("bfloat16", _gemm(torch.bfloat16)), (INT8, _int_mm)):
        try:
            kernel = make(device)
            kernel()
        except RuntimeError:
            # This device has no such kernel, which is then no peak of it.
            continue
        peak[name] = 2 * SIDE**3 / fastest(kernel)
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * COPIED / fastest(lambda: target.copy_(source))
    return Machine(peak=peak, bandwidth=bandwidth)


def _gemm(dtype: torch.dtype) -> Callable[[str], Callable[[], object]]:
    def make(device: str) -> Callable[[], object]:
        left, right = (torch.ones(SIDE, SIDE, dtype=dtype, device=device) for _ in range(2))
        return lambda: left @ right

    return make


def _int_mm(device: str) -> Callable[[], object]:
    left, right = (torch.ones(SIDE, SIDE, dtype=torch.int8, device=device) for _ in range(2))
    return lambda: torch._int_mm(left, right)  # noqa: SLF001 - the only product of int8 matrices that torch has
