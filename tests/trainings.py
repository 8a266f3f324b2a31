"""Trainings to a target, made up: how far they were after how many steps of a tenth of a second."""

from __future__ import annotations

from bench.data.environment import Environment
from bench.data.target import Checkpoint, Target, TargetProtocol, TargetRecord, Training
from bench.data.variant import Variant

TARGET = Target(metric="accuracy", value=0.9)
PROTOCOL = TargetProtocol(target=TARGET, seeds=3, rates=(0.01, 0.1), every=10, limit=40)
ENVIRONMENT = Environment(
    host="bench-1", commit="0123456789abcdef0123456789abcdef01234567", dirty=False, python="3.12.1", torch="2.9.0",
    stepbench="0.1.0", platform="Linux 6 x86_64", cpu="CPU", cores=4, memory_bytes=8_000_000_000, gpu=None, threads=1,
    wait_policy="passive", clock="perf_counter", clock_resolution=1e-7,
)  # fmt: skip


def training(optimizer, seed, *shares, rate=0.1, step_s=0.1, failure=None):
    """A training that saw these shares of right answers, one every ten steps; of seed 0 a trial of its rate."""
    looks = tuple(
        Checkpoint(steps=10 * number, seconds=10 * number * step_s, accuracy=share)
        for number, share in enumerate(shares, 1)
    )
    variant = Variant(model="toy", optimizer=optimizer, batch=8)
    return Training(
        variant=variant, rate=rate, seed=seed, tuning=seed == 0, checkpoints=looks, failure=failure
    )  # fmt: skip


def record(made, run="r", protocol=PROTOCOL):
    return TargetRecord(
        run=run, created="2026-01-02T03:04:05+00:00", protocol=protocol, training=made, environment=ENVIRONMENT
    )


def mixed():
    """Two variants that are there with every seed, one that is not with one, and one that fails."""
    return [
        record(made)
        for made in (
            training("sgd", 0, 0.5, 0.6, rate=0.01), training("sgd", 0, 0.8, 0.95),
            training("fast", 0, 0.7, rate=0.1), training("fast", 0, 0.97, rate=0.01),
            *(training("sgd", seed, 0.5, *[0.8] * seed, 0.9) for seed in (1, 2, 3)),
            *(training("fast", seed, *[0.8] * seed, 0.92, rate=0.01, step_s=0.2) for seed in (1, 2, 3)),
            *(training("slow", seed, 0.2, 0.5, 0.7, 0.89 if seed == 2 else 0.9) for seed in (1, 2, 3)),
            training("bad", 1, 0.1, failure="ValueError: no luck | <b>"),
        )
    ]  # fmt: skip
