"""Memory: the peak inside one step, and the optimizer's state by part."""

from __future__ import annotations

from typing import Any

import torch

from bench.run.build import Step


def peak_bytes(step: Step, index: int = 0) -> int:
    """Returns the highest number of bytes allocated inside one step above those allocated before it.

    On the CPU this is the running sum of the allocator's events as torch.profiler records them; on CUDA it is
    the allocator's own peak.
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
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        step.run(index)
    results = profile.profiler.kineto_results
    events = [(event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]"]
    held = peak = 0
    for _, change in sorted(events, key=lambda event: event[0]):
        held += change
        peak = max(peak, held)
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
