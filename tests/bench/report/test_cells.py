from __future__ import annotations

from dataclasses import replace

from bench.report import cells
from tests.bench.report.conftest import ENVIRONMENT, make_row, make_table


def test_the_heading_names_machine_versions_commit_and_protocol():
    assert cells.heading(make_table()) == [
        "Example CPU 8581C @ 2.10GHz, 2 cores, 16.8 GB (build-1, Linux 6.1.0 x86_64)",
        "torch 2.13.0, Python 3.12.3, stepbench 0.1.0; commit 1a56d179+dirty; 2026-11-21T06:31:40+00:00",
        "protocol 1: data digits, seed 0, 10 s a variant, 5 workers x 2 rounds, OMP_WAIT_POLICY=passive",
        "variants, unless they say otherwise: batch=1, dtype=float32, device=cpu, threads=1, compiled=false",
    ]


def test_the_heading_names_a_gpu_and_every_commit():
    table = make_table(
        environment=replace(ENVIRONMENT, gpu="Example GPU 40GB", cores=1), commits=("no commit", "0123456789abcdef")
    )
    machine, versions, *_ = cells.heading(table)
    assert ", 1 core, 16.8 GB, Example GPU 40GB (" in machine
    assert "commit no commit, 01234567;" in versions


def test_every_exact_metric_has_a_place():
    assert cells.EXACT == ("saved_bytes", "peak_bytes", "state_bytes", "loss")
    assert cells.COUNTED == ("operations", "syncs", "flops")


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
    assert cells.ratio_interval(make_row("mlp/eva/none", ratio=2.0, half=None)) == ""
    assert cells.ratio_interval(make_row("mlp/eva/none", ratio=2.0, half=0.25)) == "1.600–2.500"  # noqa: RUF001 - a range has an en dash
