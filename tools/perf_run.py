"""How `stepbench perf` gets its figures: variants are built, traced, and timed in turns in this process."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import torch

from bench.data.variant import Variant
from bench.errors import InvalidOption
from bench.plugin import Registry
from bench.run.build import Step, build, close, open_data
from bench.run.clock import clock_for
from bench.run.measure import quiet_collector
from bench.run.memory import peak_bytes
from bench.run.probe import environment
from bench.run.snapshot import cache_folder
from lowbit.deploy import roofline, timing
from lowbit.deploy.performance import Performance, performance
from lowbit.deploy.roofline import Machine
from lowbit.deploy.target import InvalidTarget, Target
from lowbit.deploy.trace import Trace, trace

from .progress import Show


def performances(
    registry: Registry, variants: Sequence[Variant], on: Target | None, given: dict[str, Any], show: Show
) -> list[tuple[Performance, Trace]]:
    """Returns the performance of each variant with its trace; raises InvalidOption for a target that lacks a peak."""
    torch.set_num_threads(variants[0].threads)
    data = open_data(registry, given["data"])
    clock = clock_for(variants[0].device)
    show("measuring this machine")
    here = machine(variants[0], fresh=given["fresh"])
    steps = []
    for variant in variants:
        show(f"building {variant}")
        steps.append(build(registry, variant, data=data, seed=given["seed"]))
    traces = [trace(_written(step), (step.batches[0][0],)) for step in steps]
    show("timing")
    subjects = [
        timing.Subject(
            module=step.module, batches=[inputs for inputs, _ in step.batches], seen_inside=not step.variant.compiled
        )
        for step in steps
    ]
    with quiet_collector():
        times = timing.take(subjects, clock, given["budget"], random.Random(given["seed"]))  # noqa: S311 - of turns
    found = []
    for step, traced, taken in zip(steps, traces, times, strict=True):
        try:
            one = performance(
                str(step.variant),
                trace=traced,
                frames=step.variant.batch,
                times=taken,
                machine=here,
                on=on,
                peak=peak_bytes(step),
            )
        except InvalidTarget as error:
            raise InvalidOption(f"--target {given['target']}: {error}") from error
        found.append((one, traced))
        close(step)
    return found


def versions(variant: Variant) -> dict[str, str]:
    """Returns what the figures were taken with and on."""
    here = environment(variant.device)
    return {
        "stepbench": here.stepbench,
        "torch": here.torch,
        "python": here.python,
        "cpu": here.cpu,
        "gpu": here.gpu or "",
        "threads": str(variant.threads),
        "host": here.host,
    }


def about(known: Mapping[str, str]) -> str:
    """Returns one line on the machine and the versions."""
    threads = f"{known['threads']} thread{'s' if known['threads'] != '1' else ''}"
    where = ", ".join(filter(None, (known["gpu"], known["cpu"], threads)))
    return f"{where}; torch {known['torch']}, Python {known['python']}, stepbench {known['stepbench']}"


def _written(step: Step) -> torch.nn.Module:
    """Returns a step's module as its code is, where it was compiled."""
    module = getattr(step.module, "_orig_mod", step.module)
    assert isinstance(module, torch.nn.Module)
    return module


def machine(variant: Variant, *, fresh: bool) -> Machine:
    """Returns the peaks of this machine: from the cache, or measured and kept there."""
    known = versions(variant)
    key = "|".join((known["cpu"], known["gpu"], known["torch"], known["threads"], variant.device))
    path = cache_folder() / "machines" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not fresh:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Machine)
        except (OSError, msgspec.MsgspecError):
            # None yet, or one of another version: it is measured.
            pass
    found = roofline.measure(clock_for(variant.device), variant.device)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(found))
    except OSError:
        # A cache that cannot be written costs two seconds the next time.
        pass
    return found
