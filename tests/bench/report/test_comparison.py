"""From records to words: what a reader concludes of two variants."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analyze.table import tables
from bench.data.measurement import Measurement, Replicate
from bench.data.protocol import Protocol
from bench.data.record import SCHEMA_VERSION, Record
from bench.data.variant import Variant
from bench.report import markdown, terminal
from tests.bench.report.conftest import ENVIRONMENT

WORKERS = 3
times = st.lists(st.floats(1e-4, 1.0), min_size=WORKERS, max_size=WORKERS)


def record(optimizer, steps):
    """A record with one step time for each worker."""
    replicates = tuple(
        Replicate(
            worker=worker, round=0, started=float(worker), warmup_steps=3, settled=True, foreign_load=0.0,
            samples={"step": (step,)},
        )
        for worker, step in enumerate(steps)
    )  # fmt: skip
    measurement = Measurement(
        variant=Variant(model="mlp", optimizer=optimizer), protocol=Protocol(workers=WORKERS, rounds=1),
        phases=("forward", "backward", "optimize"), replicates=replicates,
    )  # fmt: skip
    return Record(
        schema=SCHEMA_VERSION, run="r", created="2026-11-21T06:31:40+00:00", measurement=measurement,
        environment=ENVIRONMENT, sources={},
    )  # fmt: skip


def ratio(steps, baseline):
    """The ratio as it is printed by both forms."""
    (table,) = tables([record("sgd", baseline), record("mine", steps)])
    (line,) = [line for line in markdown.render(table).splitlines() if "mlp/mine/none" in line]
    printed = line.split(" | ")[5].partition("<br>")[0]
    assert re.search(rf"mine/none.* {re.escape(printed)}\b", terminal.render(table, width=120, color=False))
    return printed


@given(times)
def test_a_variant_takes_once_as_long_as_itself(steps):
    assert ratio(steps, steps) == "1.000"


@given(times, times, st.floats(0.1, 10))
def test_a_faster_machine_changes_no_ratio(steps, baseline, scale):
    scaled = ratio([scale * step for step in steps], [scale * step for step in baseline])
    # Equal but for the rounding of the last printed digit.
    assert float(scaled) == pytest.approx(float(ratio(steps, baseline)), rel=2e-3, abs=1e-3)


def test_a_ratio_says_how_many_times_the_baseline_a_step_takes():
    assert ratio([0.03, 0.03, 0.03], [0.02, 0.02, 0.02]) == "1.500"
