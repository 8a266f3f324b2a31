"""The steps of the catalog, for pytest-benchmark: our clock measures, and pytest-benchmark stores and compares.

pytest-benchmark times a call of a function that does nothing, with a timer that reads what our clock has read before:
so its rounds are our samples, number by number, and phases, warm-up and order are those of every other result.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from dataclasses import asdict
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import bench
from bench.data.protocol import PROTOCOL_VERSION, Protocol
from bench.data.variant import Variant

# What a specimen warns of is no reason to leave it out.
pytestmark = pytest.mark.filterwarnings("default")

_readings: deque[float] = deque()


def replayed() -> float:
    """Reads the next number of the replay: it is a timer, and its name is stored with the results."""
    return _readings.popleft()


@pytest.mark.benchmark(timer=replayed)
def test_step(benchmark: BenchmarkFixture, variant: str, phase: str) -> None:
    """Measures a phase, or takes one step of the variant where benchmarks are disabled."""
    if not bench.supports(variant, PROTOCOL_VERSION):
        pytest.skip(f"nobody has registered the parts of {variant}")
    if benchmark.disabled:
        assert math.isfinite(benchmark.pedantic(_one_step, args=(variant,)))
        return
    samples = bench.sample(variant, phase)
    benchmark.group = phase
    benchmark.extra_info.update(
        variant=variant,
        phase=phase,
        protocol=PROTOCOL_VERSION,
        replicates=1,
        quality=_quality(variant),
        environment=_environment(Variant.parse(variant).device, Variant.parse(variant).threads),
    )
    _readings.extend(reading for sample in samples for reading in (0.0, sample))
    benchmark.pedantic(lambda: None, rounds=len(samples))


def _one_step(variant: str) -> float:
    from bench.run.build import build, close, open_data
    from bench.run.load import load

    registry, protocol = load(), Protocol()
    step = build(registry, Variant.parse(variant), data=open_data(registry, protocol.data), seed=protocol.seed)
    loss = float(step.run(0).detach())
    close(step)
    return loss


@functools.cache
def _quality(variant: str) -> dict[str, Any]:
    """Returns the loss, None where it is not finite, and how it came about."""
    protocol = Protocol()
    loss = bench.sample(variant, "loss")
    return {"loss": loss[0] if loss else None, "steps": protocol.quality_steps, "seed": protocol.seed}


@functools.cache
def _environment(device: str, threads: int) -> dict[str, Any]:
    """Describes the process after it has measured, when the number of threads is set."""
    from bench.run.probe import environment

    found = asdict(environment(device))
    assert found["threads"] == threads
    return found
