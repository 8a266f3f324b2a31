"""torch.profiler around some steps: Chrome's trace with the phases marked, and a table of operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from bench.data.profile import TracedOperation
from bench.run.build import Step

# The profiler's own first step is slow.
WARMUP = 2
_ITS_OWN = frozenset({"ProfilerStep*"})


def trace(step: Step, steps: int, path: Path) -> tuple[TracedOperation, ...]:
    """Runs steps under torch.profiler, writes a trace that Perfetto opens, and returns its operations.

    Phases stand in the trace as `forward`, `backward` and `optimize`, `zero_grad` beside them.
    """
    activities = [ProfilerActivity.CPU]
    if step.variant.device != "cpu":
        activities.append(ProfilerActivity.CUDA)
    found: list[TracedOperation] = []

    def ready(profiler: profile) -> None:
        # Here and not at the end: the profiler forgets a cycle when the next one begins.
        profiler.export_chrome_trace(str(path))
        found.extend(_operation(event, steps) for event in profiler.key_averages() if event.key not in _ITS_OWN)

    cycle = schedule(wait=0, warmup=WARMUP, active=steps, repeat=1)
    with profile(activities=activities, schedule=cycle, on_trace_ready=ready) as profiler:
        for index in range(WARMUP + steps):
            _marked(step, index)
            if step.variant.device != "cpu":
                torch.cuda.synchronize(step.variant.device)
            profiler.step()
    return tuple(found)


def _operation(event: Any, steps: int) -> TracedOperation:
    return TracedOperation(
        name=event.key,
        calls=event.count / steps,
        self_seconds=event.self_cpu_time_total * 1e-6 / steps,
        total_seconds=event.cpu_time_total * 1e-6 / steps,
        device_seconds=event.self_device_time_total * 1e-6 / steps,
    )


def _marked(step: Step, index: int) -> None:
    with record_function("zero_grad"):
        step.zero_grad()
    with record_function("forward"):
        loss = step.forward(index)
    if step.trains:
        with record_function("backward"):
            step.backward(loss)
        with record_function("optimize"):
            step.optimize()
