from __future__ import annotations

import pytest

from bench.data.environment import Environment
from bench.data.measurement import Measurement
from bench.data.protocol import Protocol
from bench.data.record import SCHEMA_VERSION, Record
from bench.data.variant import Variant


@pytest.fixture(scope="session")
def record():
    environment = Environment(
        host="h", commit=None, dirty=False, python="3", torch="2", stepbench="0", platform="p", cpu="c", cores=2,
        memory_bytes=1, gpu=None, threads=1, wait_policy="passive", clock="k", clock_resolution=1e-9,
    )  # fmt: skip
    measurement = Measurement(variant=Variant(model="m", optimizer="o"), protocol=Protocol(), phases=("forward",))
    return Record(
        schema=SCHEMA_VERSION, run="r", created="2026", measurement=measurement, environment=environment, sources={}
    )
