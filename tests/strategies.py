"""Hypothesis strategies for the nouns of the instrument."""

from __future__ import annotations

from hypothesis import strategies as st

from bench.data.environment import Environment
from bench.data.measurement import Caveat, Counters, Measurement, Replicate
from bench.data.metric import PHASES
from bench.data.origin import Origin
from bench.data.protocol import Protocol
from bench.data.record import SCHEMA_VERSION, Record
from bench.data.variant import DTYPES, MEMORY_FORMATS, Variant

names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,12}", fullmatch=True)
texts = st.text(max_size=40)
seconds = st.floats(1e-9, 1e6, allow_nan=False)

variants = st.builds(
    Variant,
    model=names,
    optimizer=names,
    quantization=names,
    batch=st.integers(1, 10**6),
    dtype=st.sampled_from(DTYPES),
    memory_format=st.sampled_from(MEMORY_FORMATS),
    device=st.sampled_from(["cpu", "cuda"]),
    threads=st.integers(1, 256),
    compiled=st.booleans(),
    ranks=st.integers(1, 99),
) | st.builds(Variant, model=names, optimizer=names, device=st.just("cuda:3"))

protocols = st.builds(
    Protocol,
    data=texts,
    seed=st.integers(0, 2**31),
    budget_s=st.floats(0.01, 1e5),
    workers=st.integers(1, 9),
    rounds=st.integers(1, 9),
    quality_steps=st.integers(1, 99),
)

replicates = st.builds(
    Replicate,
    worker=st.integers(0, 9),
    round=st.integers(0, 99),
    started=st.floats(0, 1e5),
    warmup_steps=st.integers(1, 999),
    settled=st.booleans(),
    foreign_load=st.none() | st.floats(0, 64),
    samples=st.fixed_dictionaries(
        {name: st.lists(seconds, min_size=1, max_size=4).map(tuple) for name in ("zero_grad", *PHASES, "step")}
    ),
)

measurements = st.builds(
    Measurement,
    variant=variants,
    protocol=protocols,
    phases=st.just(PHASES),
    replicates=st.lists(replicates, max_size=4).map(tuple),
    counters=st.builds(
        Counters,
        values=st.dictionaries(names, st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=4),
        state_bytes=st.dictionaries(names, st.integers(0, 2**50), max_size=3),
    ),
    caveats=st.lists(st.builds(Caveat, code=names, message=texts), max_size=2).map(tuple),
    failure=st.none() | texts,
)

environments = st.builds(
    Environment,
    host=texts,
    commit=st.none() | st.from_regex(r"[0-9a-f]{40}", fullmatch=True),
    dirty=st.booleans(),
    python=texts,
    torch=texts,
    stepbench=texts,
    platform=texts,
    cpu=texts,
    cores=st.integers(1, 512),
    memory_bytes=st.integers(1, 2**50),
    gpu=st.none() | texts,
    threads=st.integers(1, 512),
    wait_policy=texts,
    clock=texts,
    clock_resolution=st.floats(1e-9, 1.0),
)

origins = st.builds(
    Origin,
    tool=st.sampled_from(["asv", "pytest-benchmark"]),
    release=texts,
    file=texts,
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    benchmark=texts,
    parameters=st.dictionaries(texts, texts, max_size=3),
    version=texts,
    environment=texts,
    unit=st.none() | texts,
    committed=st.none() | texts,
    own=st.booleans(),
)

records = st.builds(
    Record,
    schema=st.just(SCHEMA_VERSION),
    run=names,
    created=st.datetimes().map(lambda time: time.isoformat(timespec="seconds")),
    measurement=measurements,
    environment=environments,
    sources=st.dictionaries(texts, texts, max_size=3),
    origin=st.none() | origins,
)
