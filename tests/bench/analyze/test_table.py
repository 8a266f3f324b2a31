from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analyze.table import tables
from bench.data.measurement import Caveat, Counters, Measurement
from bench.data.protocol import Protocol
from bench.data.variant import Variant
from tests.strategies import records


@pytest.fixture
def rows(replicate):
    def make(scale):
        return [replicate([scale * 1e-3] * 5, worker=n % 5, round_=n) for n in range(10)]

    return make


def ids(table):
    return [str(row.variant) for row in table.rows]


def test_ratios_are_to_the_baseline_of_the_same_model_and_axes(rows, record):
    (table,) = tables(
        [
            record(rows(3), "m/eva/none"), record(rows(2), "m/sgd/none"), record(rows(8), "m/eva/none@batch=2"),
            record(rows(1), "n/eva/none"),
        ]
    )  # fmt: skip
    assert ids(table) == ["m/sgd/none", "m/eva/none", "m/eva/none@batch=2", "n/eva/none"]
    assert [row.ratio and row.ratio.center for row in table.rows] == [None, pytest.approx(1.5), None, None]
    assert str(table.rows[1].ratio.baseline) == "m/sgd/none"
    (other,) = tables([record(rows(3), "m/eva/none"), record(rows(2), "m/sgd/none")], baseline="eva")
    assert ids(other) == ["m/eva/none", "m/sgd/none"]
    assert other.rows[1].ratio.center == pytest.approx(2 / 3)


def test_a_quantized_row_is_compared_with_the_fastest_float_row_of_its_step_and_with_the_plain_one(rows, record):
    (table,) = tables(
        [
            record(rows(4), "m/none/none"), record(rows(2), "m/none/none@compiled=true"), record(rows(1), "m/none/q"),
            record(rows(1), "m/none/none@batch=2"), record(rows(1), "m/sgd/none"), record(rows(1), "n/none/none"),
        ]
    )  # fmt: skip
    found = {str(row.variant): (row.fastest_float, row.plain_float) for row in table.rows}
    fastest, plain = found["m/none/q"]
    assert (str(fastest.baseline), fastest.center) == ("m/none/none@compiled=true", pytest.approx(0.5))
    assert (str(plain.baseline), plain.center) == ("m/none/none", pytest.approx(0.25))
    assert found["m/none/none@compiled=true"] == (None, found["m/none/none@compiled=true"][1])
    assert found["m/none/none"][1] is None
    for alone in ("m/none/none@batch=2", "m/sgd/none", "n/none/none"):
        assert found[alone] == (None, None)


def inference(replicates):
    variant = Variant.parse("m/none/none")
    return Measurement(variant=variant, protocol=Protocol(), phases=("forward",), replicates=tuple(replicates))


def test_inference_is_not_compared_with_steps_that_train(rows, record):
    (table,) = tables(
        [
            replace(record(rows(1), "m/none/none"), measurement=inference(rows(1))),
            record(rows(2), "m/sgd/none"), record(rows(3), "m/eva/none"),
        ]
    )  # fmt: skip
    ratios = {str(row.variant): row.ratio for row in table.rows}
    assert ratios["m/none/none"] is None
    assert ratios["m/eva/none"].center == pytest.approx(1.5)


def test_no_ratio_crosses_runs(rows, record):
    (table,) = tables([record(rows(2), "m/sgd/none", run="a"), record(rows(3), "m/eva/none", run="b")])
    assert [row.ratio for row in table.rows] == [None, None]


def test_the_newest_record_of_a_variant_counts(rows, record):
    (table,) = tables(
        [record(rows(1), created="2026-01-01", commit="a" * 40), record(rows(2), created="2026-01-02", dirty=True)]
    )
    assert table.rows[0].summaries["step"].center == pytest.approx(2e-3)
    assert table.commits == ("c" * 40 + "+dirty",)
    assert table.created == "2026-01-02"


def test_the_newest_counts_in_whatever_order_records_come(rows, record):
    older, newer = record(rows(1), created="2026-01-01"), record(rows(2), created="2026-01-02", run="s")
    assert tables([newer, older]) == tables([older, newer])


def test_a_ratio_is_to_the_baseline_of_its_own_run_although_a_newer_one_is_shown(rows, record):
    (table,) = tables(
        [
            record(rows(2), "m/sgd/none"),
            record(rows(3), "m/eva/none"),
            record(rows(4), "m/sgd/none", run="s", created="2026-01-02"),
        ]
    )
    assert table.rows[0].summaries["step"].center == pytest.approx(4e-3)
    assert table.rows[1].ratio.center == pytest.approx(1.5)


@pytest.mark.parametrize(
    "other",
    [
        {"host": "elsewhere"}, {"torch": "3"}, {"python": "4"}, {"wait_policy": "active"}, {"cores": 4}, {"gpu": "g"},
        {"protocol": Protocol(seed=1)}, {"protocol": Protocol(data="synthetic")},
    ],
)  # fmt: skip
def test_what_may_not_be_compared_stands_in_tables_of_its_own(rows, record, other):
    found = tables([record(rows(1), "m/sgd/none"), record(rows(2), "m/eva/none", **other)])
    assert [ids(table) for table in found] == [["m/sgd/none"], ["m/eva/none"]]


@pytest.mark.parametrize("same", [{"commit": None}, {"dirty": True}, {"threads": 2}, {"clock_resolution": 1e-8}])
def test_commits_and_threads_may_differ_inside_a_table(rows, record, same):
    assert len(tables([record(rows(1), "m/sgd/none"), record(rows(2), "m/eva/none", **same)])) == 1


def test_recorded_caveats_stand_before_derived_ones_and_failures_are_rows(replicate, record):
    noted = record(
        [replicate([1e-3] * 5, worker=n, round_=n, foreign_load=1.0) for n in range(3)],
        measured={"caveats": (Caveat(code="odd", message="odd."),), "counters": Counters(values={"loss": None})},
    )
    failed = record([], "m/eva/none", measured={"failure": "it broke"})
    (table,) = tables([noted, failed])
    assert [caveat.code for caveat in table.rows[0].caveats] == ["odd", "foreign-load"]
    assert table.rows[0].counters.values == {"loss": None}
    assert table.rows[1].failure == "it broke"
    assert table.rows[1].summaries == {}


@settings(max_examples=50)
@given(st.lists(records, max_size=5))
def test_every_variant_of_any_records_is_in_some_table(found):
    shown = {row.variant for table in tables(found) for row in table.rows}
    assert shown == {record.measurement.variant for record in found}


def test_analysis_and_storage_need_no_torch():
    code = "import sys, bench.analyze.table, bench.store.jsonl, bench.report.terminal; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
