from __future__ import annotations

import re

import pytest
from hypothesis import given

from bench.report import seed
from tests.bench.report.conftest import make_row, make_table, tables, whole_tables

LINE = re.compile(
    r"Model: (?P<model>\S+) Optimizer: (?P<optimizer>\S+) Batch Size: (?P<batch>\d+), "
    r"Forward: (?P<forward>\d+\.\d{4})ms, Backward: (?P<backward>\d+\.\d{4})ms, "
    r"Optimize: (?P<optimize>\d+\.\d{4})ms, Step: (?P<step>\d+\.\d{4})ms"
)


def parse_line(line):
    """Reads a line back; times in seconds."""
    found = LINE.fullmatch(line).groupdict()
    times = {name: float(found.pop(name)) / 1e3 for name in ("forward", "backward", "optimize", "step")}
    return {**found, **times}


def test_a_line_is_that_of_the_published_measurements():
    table = make_table(make_row("resnet20/eva-8bit/none", (0.0119066, 0.0207832, 0.0185749, 0.0513755)))
    assert seed.render(table) == (
        "Model: res20 Optimizer: eva8bit Batch Size: 1, "
        "Forward: 11.9066ms, Backward: 20.7832ms, Optimize: 18.5749ms, Step: 51.3755ms"
    )


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("eva", "eva"), ("eva-8bit", "eva8bit"), ("eva-8bit-cpu", "eva8bit_cpu"), ("sgd", "sgd"), ("adamw", "adamw"),
        ("sgd-foreach", "sgd_foreach"), ("my-sgd", "my_sgd"), ("lion-4bit", "lion4bit"),
    ],
)  # fmt: skip
def test_optimizers_are_named_by_rule(name, published):
    assert seed.published_optimizer(name) == published


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet20", "res20"),
        ("resnet", "resnet"),
        ("vit", "vit"),
        ("mobilenetv2", "mobilenetv2"),
        ("my-resnet9", "my-resnet9"),
    ],
)
def test_residual_networks_are_abbreviated(name, published):
    assert seed.published_model(name) == published


def test_rows_without_all_times_have_no_line():
    table = make_table(
        make_row("vit/none/none", (0.002, 0.002), phases=("forward",)),
        make_row("vit/bad/none", failure="ValueError: no luck"),
        # Times of replicates before the failure are kept in the record; they are no result.
        make_row("vit/late/none", (0.1, 0.1, 0.1, 0.3), failure="the worker ended"),
        make_row("vit/sgd/none@batch=32", (0.001, 0.002, 0.003, 0.006)),
    )
    (line,) = seed.render(table).splitlines()
    assert parse_line(line) == {
        "model": "vit", "optimizer": "sgd", "batch": "32",
        "forward": 0.001, "backward": 0.002, "optimize": 0.003, "step": 0.006,
    }  # fmt: skip


@whole_tables
@given(tables)
def test_every_line_reads_back_to_a_tenth_of_a_microsecond(table):
    complete = [
        row
        for row in table.rows
        if row.failure is None and {"forward", "backward", "optimize", "step"} <= set(row.summaries)
    ]
    lines = seed.render(table).splitlines()
    assert len(lines) == len(complete)
    for line, row in zip(lines, complete, strict=True):
        for name in ("forward", "backward", "optimize", "step"):
            assert parse_line(line)[name] == pytest.approx(row.summaries[name].center, abs=5.1e-8, rel=1e-12)
