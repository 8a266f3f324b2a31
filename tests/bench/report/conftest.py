"""Tables made by hand, tables made by hypothesis, and files to compare with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from bench.analyze.row import Ratio, Row, Summary, Table
from bench.data.environment import Environment
from bench.data.measurement import Caveat, Counters
from bench.data.metric import METRICS, PHASES
from bench.data.protocol import Protocol
from bench.data.variant import DTYPES, MEMORY_FORMATS, Variant

GOLDEN = Path(__file__).parents[2] / "golden"
UPDATE = "STEPBENCH_UPDATE_GOLDEN"


@pytest.fixture
def golden():
    """Compares a text with a file; what differs is left beside it as `.got`, and with UPDATE set it is taken over."""

    def compare(name: str, text: str, folder: Path = GOLDEN) -> None:
        path, got = folder / name, folder / f"{name}.got"
        if os.environ.get(UPDATE) == "1":
            path.write_text(text + "\n", encoding="utf-8")
        expected = path.read_text(encoding="utf-8") if path.exists() else ""
        if text + "\n" != expected:
            got.write_text(text + "\n", encoding="utf-8")
            pytest.fail(f"differs from {path}: see {got.name} beside it; with {UPDATE}=1 it is taken over")
        got.unlink(missing_ok=True)

    return compare


ENVIRONMENT = Environment(
    host="build-1",
    commit="1a56d179ec58c10c96bf97296e54d6e9cbefc2f9",
    dirty=True,
    python="3.12.3",
    torch="2.13.0",
    stepbench="0.1.0",
    platform="Linux 6.1.0 x86_64",
    cpu="Example CPU 8581C @ 2.10GHz",
    cores=2,
    memory_bytes=16_777_216_000,
    gpu=None,
    threads=1,
    wait_policy="passive",
    clock="perf_counter",
    clock_resolution=4.2e-8,
)
# Written out, so that a default that is tuned changes no golden file.
PROTOCOL = Protocol(
    version=1, data="digits", seed=0, budget_s=10.0, workers=5, rounds=2, wait_policy="passive", quality_steps=20
)


def around(center, half):
    """Both ends of an interval: as far from its center in logarithm as those of analysis are."""
    return (None, None) if half is None else (center / (1 + half), center * (1 + half))


def summary(center, half=0.012):
    """A summary with an interval of a factor 1 + `half` either way, or without one where `half` is None."""
    low, high = around(center, half)
    several = half is not None
    return Summary(
        center=center, low=low, high=high, samples=120, replicates=10 if several else 1, workers=5 if several else 1
    )


def make_row(
    variant,
    times=(),
    *,
    half=0.012,
    ratio=None,
    floats=(None, None),
    counters=(),
    parts=None,
    caveats=(),
    failure=None,
    phases=PHASES,
    accuracies=(),
):
    """A row from its times in seconds, phases first and the step last; `counters` go by the names of METRICS."""
    parsed = Variant.parse(variant)
    return Row(
        variant=parsed,
        phases=phases,
        summaries={name: summary(time, half) for name, time in zip((*phases, "step"), times, strict=bool(times))},
        ratio=to(ratio, half, Variant(model=parsed.model, optimizer="sgd")),
        **{
            name: found and to(found[0], half, Variant.parse(found[1]))
            for name, found in zip(("fastest_float", "plain_float"), floats, strict=True)
        },
        counters=Counters(values=dict(counters), state_bytes=parts or {}),
        caveats=caveats,
        failure=failure,
        accuracies=accuracies,
    )


def to(center, half, baseline):
    """A ratio to a baseline, None without one."""
    if center is None:
        return None
    low, high = around(center, half)
    return Ratio(center=center, low=low, high=high, pairs=10, baseline=baseline)


def make_table(*rows, environment=ENVIRONMENT, commits=(f"{ENVIRONMENT.commit}+dirty",), baseline="sgd"):
    """A table of rows on one machine."""
    return Table(
        environment=environment,
        protocol=PROTOCOL,
        commits=commits,
        created="2026-11-21T06:31:40+00:00",
        baseline=baseline,
        rows=rows,
    )


# A table has many parts to draw, which on a busy machine takes longer than hypothesis expects.
whole_tables = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])

# Wide enough for every prefix, and no wider than a step can take or a machine can hold.
times = st.floats(1e-9, 1e6)
sizes = st.integers(0, 10**15)
words = st.text(max_size=40)
names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
variants = st.builds(
    Variant,
    model=st.sampled_from(["resnet20", "vit", "mlp"]),
    optimizer=st.one_of(st.sampled_from(["sgd", "eva-8bit", "none"]), names),
    quantization=st.one_of(st.just("none"), names),
    batch=st.integers(1, 10**6),
    dtype=st.sampled_from(DTYPES),
    device=st.sampled_from(["cpu", "cuda:1"]),
    threads=st.integers(1, 256),
    compiled=st.booleans(),
    memory_format=st.sampled_from(MEMORY_FORMATS),
)


@st.composite
def intervals(draw):
    """(center, low, high), at times without the latter two."""
    center = draw(times)
    if draw(st.booleans()):
        return center, None, None
    return center, center * draw(st.floats(0, 1)), center * draw(st.floats(1, 1e6))


@st.composite
def rows(draw, variant=variants):
    """Any row: each of its figures may be absent."""
    summaries = {}
    for name in draw(st.sets(st.sampled_from([name for name, metric in METRICS.items() if metric.timed]))):
        center, low, high = draw(intervals())
        summaries[name] = Summary(center=center, low=low, high=high, samples=3, replicates=3, workers=2)
    ratios = dict.fromkeys(("ratio", "fastest_float", "plain_float"))
    for name in draw(st.sets(st.sampled_from(sorted(ratios)))):
        center, low, high = draw(intervals())
        ratios[name] = Ratio(center=center, low=low, high=high, pairs=3, baseline=draw(variants))
    exact = st.sampled_from([name for name, metric in METRICS.items() if not metric.timed])
    return Row(
        variant=draw(variant),
        phases=PHASES[: draw(st.sampled_from([1, 3]))],
        summaries=summaries,
        **ratios,
        counters=Counters(
            values=draw(st.dictionaries(exact, st.one_of(st.none(), sizes))),
            state_bytes=draw(st.dictionaries(words, sizes, max_size=4)),
        ),
        caveats=tuple(draw(st.lists(st.builds(Caveat, code=names, message=words), max_size=3))),
        failure=draw(st.one_of(st.none(), words)),
    )


environments = st.builds(
    Environment,
    host=words, commit=st.none(), dirty=st.booleans(), python=words, torch=words, stepbench=words, platform=words,
    cpu=words, cores=st.integers(1, 999), memory_bytes=sizes, gpu=st.one_of(st.none(), words),
    threads=st.integers(1, 999), wait_policy=words, clock=words, clock_resolution=times,
)  # fmt: skip
tables = st.builds(
    Table,
    environment=environments,
    protocol=st.builds(Protocol, data=words, seed=st.integers(), budget_s=st.floats(0.01, 1e5)),
    commits=st.lists(words, max_size=3).map(tuple),
    created=words,
    baseline=st.one_of(st.just("sgd"), names),
    rows=st.lists(variants, max_size=4, unique=True).flatmap(
        lambda unique: st.tuples(*(rows(variant=st.just(variant)) for variant in unique))
    ),
)
