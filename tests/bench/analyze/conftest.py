from __future__ import annotations

import pytest

from bench.data.environment import Environment
from bench.data.measurement import Measurement, Replicate
from bench.data.metric import PHASES
from bench.data.protocol import Protocol
from bench.data.record import Record
from bench.data.variant import Variant


@pytest.fixture(scope="session")
def replicate():
    """Makes a replicate whose step takes the given times; phases take a tenth of it for zero_grad and 30 % each."""

    def make(steps, worker=0, round_=0, **more):
        steps = tuple(steps)
        samples = {"step": steps, "zero_grad": tuple(0.1 * s for s in steps)}
        samples |= {phase: tuple(0.3 * s for s in steps) for phase in PHASES}
        given = {"started": float(round_), "warmup_steps": 4, "settled": True, "foreign_load": 0.0, **more}
        return Replicate(worker=worker, round=round_, samples=samples | given.pop("samples", {}), **given)

    return make


@pytest.fixture(scope="session")
def record():
    """Makes a record of replicates."""

    def make(
        replicates, variant="m/sgd/none", *, created="2026-01-01", run="r", protocol=None, measured=None, **environment
    ):
        words = {
            "host": "h",
            "commit": "c" * 40,
            "python": "3",
            "torch": "2",
            "stepbench": "0",
            "platform": "p",
            "cpu": "c",
        }
        numbers = {"cores": 2, "memory_bytes": 1, "threads": 1, "clock_resolution": 1e-7}
        described = words | numbers | {"dirty": False, "gpu": None, "wait_policy": "passive", "clock": "k"}
        measurement = Measurement(
            variant=Variant.parse(variant),
            protocol=protocol or Protocol(),
            phases=PHASES,
            replicates=tuple(replicates),
            **(measured or {}),
        )
        return Record(
            schema=1,
            run=run,
            created=created,
            measurement=measurement,
            sources={},
            environment=Environment(**(described | environment)),
        )

    return make
