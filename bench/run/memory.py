"""Memory: the peak inside one step, and the optimizer's state by part."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch._C._profiler import _EventType

from bench.run.build import Step
from bench.run.measure import quiet_collector


def peak_bytes(step: Step, index: int = 0) -> int:
    """Returns the highest number of bytes allocated inside one step above those allocated before it.

    On the CPU this is what the step's own allocations hold at once, as torch.profiler records them; on CUDA it is the
    allocator's own peak, from which what the step frees of earlier memory is taken off.
    """
    device = torch.device(step.variant.device)
    step.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step.run(index)
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    return host_peak(lambda: step.run(index))


def host_peak(call: Callable[[], object]) -> int:
    """Returns the highest number of bytes of host memory that what a call allocates holds at once."""
    profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True)
    # What the collector frees inside of the call was not the call's.
    with quiet_collector():
        with _unheard():
            profile.start()
        try:
            call()
        finally:
            with _unheard():
                profile.stop()
    assert profile.profiler is not None
    assert profile.profiler.kineto_results is not None
    return _highest(profile.profiler.kineto_results.experimental_event_tree())


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Drops what some builds of the profiler write to the process's standard error when it starts and stops."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _highest(roots: Sequence[Any]) -> int:
    """Returns the most bytes that allocations in a tree of events hold at once.

    A block that is freed without having been allocated in the tree is left out: of one from before the profiler does
    not know the size, or knows that of an older block at the same address, so that the sum would be another each time.
    """
    events, found = list(roots), []
    while events:
        event = events.pop()
        events.extend(event.children)
        if event.tag == _EventType.Allocation:
            found.append((event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size))
    held: dict[int, int] = {}
    total = peak = 0
    for _, address, size in sorted(found, key=lambda allocation: allocation[0]):
        if size > 0:
            held[address] = size
            total += size
        else:
            total -= held.pop(address, 0)
        peak = max(peak, total)
    return peak


def state_bytes(optimizer: torch.optim.Optimizer | None) -> dict[str, int]:
    """Returns the bytes of an optimizer's state by part.

    An optimizer that has a `state_bytes() -> dict[str, int]` method is asked; from any other the tensors in `state`
    are added up by their key, each storage once.
    """
    if optimizer is None:
        return {}
    report: Any = getattr(optimizer, "state_bytes", None)
    if callable(report):
        return {str(part): int(size) for part, size in report().items()}
    parts: dict[str, int] = {}
    seen: set[int] = set()
    for state in optimizer.state.values():
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and value.data_ptr() not in seen:
                seen.add(value.data_ptr())
                part = str(key).removesuffix("_buffer")
                parts[part] = parts.get(part, 0) + value.numel() * value.element_size()
    return parts
