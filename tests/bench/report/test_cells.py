from __future__ import annotations

from dataclasses import replace

from bench.data.metric import METRICS
from bench.data.origin import Origin
from bench.data.protocol import Protocol
from bench.report import cells, markdown
from tests.bench.report.conftest import ENVIRONMENT, make_row, make_table


def test_the_heading_names_machine_versions_commit_and_protocol():
    assert cells.heading(make_table()) == [
        "Example CPU 8581C @ 2.10GHz, 2 cores, 16.8 GB (build-1, Linux 6.1.0 x86_64)",
        "torch 2.13.0, Python 3.12.3, stepbench 0.1.0; commit 1a56d179+dirty; 2026-11-21T06:31:40+00:00",
        "protocol 1: data digits, seed 0, 10 s a variant, 5 workers x 2 rounds, OMP_WAIT_POLICY=passive",
        (
            "variants, unless they say otherwise: batch=1, dtype=float32, device=cpu, threads=1, compiled=false, "
            "memory_format=contiguous, ranks=1"
        ),
    ]


def test_the_heading_names_a_gpu_and_every_commit():
    table = make_table(
        environment=replace(ENVIRONMENT, gpu="Example GPU 40GB", cores=1), commits=("no commit", "0123456789abcdef")
    )
    machine, versions, *_ = cells.heading(table)
    assert ", 1 core, 16.8 GB, Example GPU 40GB (" in machine
    assert "commit no commit, 01234567;" in versions


def test_every_metric_of_one_value_has_a_place():
    of_the_model = {
        "model_bytes",
        "integer_bytes",
        "quantized_layers",
        "eligible_layers",
        "fused_layers",
        "output_error",
    }
    exact = {name for name, metric in METRICS.items() if not metric.timed and "." not in name}
    assert {*cells.EXACT, *cells.FOREIGN} | of_the_model == exact
    assert cells.COUNTED == ("operations", "syncs", "flops")


def test_what_only_other_tools_measure_is_shown_where_it_is_there():
    row = make_row("mlp/none/none", counters={"tracked": 97, "process_bytes": 36_700_000})
    assert cells.foreign(row) == ["process memory 36.7 MB", "tracked 97"]
    assert cells.foreign(make_row("mlp/none/none")) == []


def test_what_another_tool_measured_has_its_name_and_claims_nothing_of_ours():
    hostile = "<img src=x onerror=alert(1)>|@octocat"
    origin = Origin(tool="asv", release="2", file="f", sha256="0", benchmark=hostile)
    row = replace(make_row("time-it-0123abcd/none/none", counters={"tracked": 97}), origin=origin)
    failed = replace(row, failure="failed in asv")
    environment = replace(ENVIRONMENT, stepbench="none, read from asv")
    table = replace(make_table(row, failed, environment=environment), protocol=Protocol(version=0, data="asv"))
    assert cells.foreign(row) == [hostile, "tracked 97"]
    assert cells.failure(failed) == f"failed: {hostile}: failed in asv"
    _, versions, protocol = cells.heading(table)
    assert ", read from asv; commit" in versions
    assert protocol == "measured by asv, whose file does not tell its protocol"
    assert "loss" not in " ".join(cells.legend(table))
    assert "<img" not in markdown.render(table).replace("\\<", "")
    own = replace(table, rows=(make_row("m/none/none"),))
    assert "on a fixed batch after the suite's steps" in " ".join(cells.legend(own))


def test_a_machine_of_which_little_is_known_is_named_by_that():
    unknown = replace(ENVIRONMENT, cpu="", cores=0, memory_bytes=0)
    assert cells.machine(unknown) == "(build-1, Linux 6.1.0 x86_64)"


def test_a_phase_that_failed_to_be_timed_differs_from_one_that_does_not_exist():
    row = make_row("mlp/none/none", phases=("forward",))
    assert cells.time(row, "forward") == cells.ABSENT
    assert cells.time(row, "backward") == ""


def test_a_single_part_of_the_state_is_no_split():
    assert cells.state_parts(make_row("mlp/sgd/none", parts={"momentum": 8, "scales": 0})) == []
    assert cells.state_parts(make_row("mlp/sgd/none", parts={"a": 8, "b": 1})) == ["a 8 B", "b 1 B"]


def test_a_failure_without_a_reason_is_a_failure():
    assert cells.failure(make_row("mlp/sgd/none", failure="")) == "failed: no reason was given"
    assert cells.failure(make_row("mlp/sgd/none")) == ""


def test_a_ratio_without_an_interval_has_none():
    sure, unsure = make_row("mlp/eva/none", ratio=2.0, half=0.25), make_row("mlp/eva/none", ratio=2.0, half=None)
    table = make_table(sure, unsure)
    assert cells.ratio_names(table) == ["vs sgd"]
    assert cells.ratios(sure, table) == [("2.000", "1.600–2.500")]  # noqa: RUF001 - a range has an en dash
    assert cells.ratios(unsure, table) == [("2.000", "")]


def test_a_quantized_row_is_compared_with_the_fastest_float_row_and_then_with_the_plain_one():
    fastest, plain, quantized = "m/none/none@dtype=bfloat16", "m/none/none", "m/none/q"
    rows = [
        make_row(plain, phases=("forward",), times=(2e-3, 2e-3), floats=((2.0, fastest), None)),
        make_row(fastest, phases=("forward",), times=(1e-3, 1e-3), floats=(None, (0.5, plain))),
        make_row(quantized, phases=("forward",), times=(6e-4, 6e-4), floats=((0.6, fastest), (0.3, plain))),
    ]
    table = make_table(*rows)
    assert cells.ratio_names(table) == ["vs float"], "no row trains: there is no optimizer to compare"
    assert cells.shown_phases(table) == ("forward",)
    shown = [(head, plainly) for ((head, _, plainly),) in (cells.ratios(row, table) for row in rows)]
    assert shown == [("2.000", ""), ("1", "0.500 of plain"), ("0.600", "0.300 of plain")]


def test_where_the_plain_row_is_the_fastest_it_is_named_once():
    rows = [
        make_row("m/none/none", phases=("forward",), times=(1e-3, 1e-3)),
        make_row("m/none/q", phases=("forward",), times=(6e-4, 6e-4), floats=((0.6, "m/none/none"),) * 2),
    ]
    assert [cells.ratios(row, make_table(*rows))[0][0] for row in rows] == ["1", "0.600"]
    assert cells.ratios(rows[1], make_table(*rows))[0][2] == ""


def test_a_quantized_row_says_what_was_done_to_the_model():
    counters = {
        "quantized_layers": 19, "eligible_layers": 21, "model_bytes": 317_972, "integer_bytes": 302_896,
        "output_error": 0.0213, "fused_layers": 19,
    }  # fmt: skip
    assert cells.quantized(make_row("m/none/q", counters=counters)) == [
        "19 of 21 layers quantized",
        "19 fused by the compiler",
        "model 318 kB, 303 kB of it integers",
        "outputs differ by 2.1 %",
    ]
    assert cells.quantized(make_row("m/none/none", counters={"model_bytes": 1})) == []
