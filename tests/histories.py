"""Records over commits with a known change, as a machine would have stored them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.data.environment import Environment
from bench.data.measurement import Counters, Measurement, Replicate
from bench.data.protocol import Protocol
from bench.data.record import SCHEMA_VERSION, Record
from bench.data.variant import Variant

SECONDS = {"zero_grad": 0.0002, "forward": 0.015, "backward": 0.014, "optimize": 0.006}
ENVIRONMENT = Environment(
    host="bench-1", commit=None, dirty=False, python="3.11.7", torch="2.13.0+cpu", stepbench="0.1.0",
    platform="Linux 6.1 x86_64", cpu="A processor", cores=2, memory_bytes=25_300_000_000, gpu=None, threads=1,
    wait_policy="passive", clock="host", clock_resolution=1e-7,
)  # fmt: skip


def record(commit, number, factors, *, variant="resnet20/eva/none", operations=97.0, **environment):
    """A record of one commit whose phases take `factors` times the usual, with two workers that hardly differ."""
    replicates = []
    for worker, off in enumerate((0.999, 1.001)):
        samples = {name: (seconds * factors.get(name, 1.0) * off,) for name, seconds in SECONDS.items()}
        samples["step"] = (sum(value for (value,) in samples.values()),)
        replicates.append(
            Replicate(
                worker=worker, round=0, started=0.0, warmup_steps=2, settled=True, foreign_load=0.0, samples=samples
            )
        )
    measurement = Measurement(
        variant=Variant.parse(variant),
        protocol=Protocol(),
        phases=("forward", "backward", "optimize"),
        replicates=tuple(replicates),
        counters=Counters(values={"optimize.operations": operations}),
    )
    return Record(
        schema=SCHEMA_VERSION,
        run=f"{number:08x}",
        created=f"2026-11-{1 + number // 24:02d}T{number % 24:02d}:00:00+00:00",
        measurement=measurement,
        environment=replace(ENVIRONMENT, commit=commit, **environment),
        sources={},
    )


def records(commits, *, at=None, phase="optimize", change=0.1, noise=0.01, seed=0, counted=False, **more):
    """Records of some commits; from number `at` on, one phase takes `change` more, and if `counted` more operations."""
    generator = np.random.default_rng(seed)
    found = []
    for number, commit in enumerate(commits):
        factors = {name: float(np.exp(generator.normal(0, noise))) for name in SECONDS}
        late = at is not None and number >= at
        factors[phase] *= 1 + change * late
        found.append(record(commit, number, factors, operations=101.0 if late and counted else 97.0, **more))
    return found
