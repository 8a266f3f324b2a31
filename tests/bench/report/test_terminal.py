from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from bench.data.measurement import Caveat
from bench.data.metric import PHASES_OF_RANKS
from bench.report import terminal
from tests.bench.report.conftest import make_row, make_table, tables, whole_tables

COUNTERS = {
    "forward.operations": 117, "forward.syncs": 0, "optimize.operations": 1034, "optimize.syncs": 100,
    "saved_bytes": 2_100_000, "peak_bytes": 4_200_000, "state_bytes": 330_200, "loss": 2.30258,
}  # fmt: skip
FULL = make_row(
    "resnet20/eva-8bit-cpu/none", (0.0119, 0.0208, 0.0186, 0.0512), ratio=1.52, counters=COUNTERS,
    parts={"momentum": 290_000, "statistics": 31_000, "scales": 9_200},
    caveats=(Caveat(code="busy", message="the machine was busy"),),
)  # fmt: skip

INTERVAL = "1.502–1.538"  # noqa: RUF001 - a range has an en dash


def render(*rows, width=120, color=False):
    return terminal.render(make_table(*rows), width=width, color=color)


def body(text):
    """The table itself, without what stands above and below it."""
    return text.partition("\n\n")[2].partition("\ntimes:")[0]


@pytest.mark.parametrize("width", [80, 90, 100, 120, 200])
def test_every_figure_is_there_at_any_width_and_no_line_is_wider(width):
    text = render(FULL, make_row("resnet20/adamw/none", failure="ValueError: no luck"), width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    table = body(text)
    for figure in (
        "resnet20", "eva-8bit-cpu/none", "[1]", "11.9 ms", "20.8 ms", "18.6 ms", "51.2 ms", "±1.2%", "117·0",
        "1,034·100", "1.520", INTERVAL, "330 kB", "momentum 290 kB, statistics 31.0 kB, scales 9.20 kB", "2.10 MB",
        "4.20 MB", "2.303", "adamw/none", "failed: ValueError: no luck",
    ):  # fmt: skip
        assert figure in table


def test_a_row_of_ranks_shows_what_it_waited_for_and_sent():
    sent = COUNTERS | {"communicate.messages": 5, "communicate.bytes": 1_254_036}
    times = (0.0119, 0.0208, 0.0031, 0.0186, 0.0512)
    row = make_row("resnet20/eva/none@ranks=2", times, counters=sent, phases=PHASES_OF_RANKS)
    text = render(row, FULL, width=140)
    for figure in ("communicate", "messages·bytes", "3.10 ms", "5·1.25 MB", "1,034·100", "All times and counters are"):
        assert figure in text
    assert "communicate" not in render(FULL)


def test_a_caveat_of_many_rows_is_printed_once():
    text = render(*(make_row(f"mlp/sgd/none@batch={n}", (1, 2, 3, 6), caveats=FULL.caveats) for n in range(1, 9)))
    assert text.count("the machine was busy") == 1
    assert body(text).count("[1]") == 8
    assert text.endswith("\n[1] the machine was busy")


def test_rows_are_grouped_by_model_in_the_order_they_were_measured():
    text = body(
        render(*(make_row(f"{name}/none", (1, 2, 3, 6)) for name in ("vit/sgd", "mlp/sgd", "vit/eva", "mlp/eva")))
    )
    assert re.findall(r"^ *(vit|mlp|sgd|eva)\b", text, re.MULTILINE) == ["vit", "sgd", "eva", "mlp", "sgd", "eva"]


def test_inference_has_no_cells_for_training():
    text = body(render(make_row("vit/none/none", (0.002, 0.002), phases=("forward",)), width=100))
    (line,) = [line for line in text.splitlines() if "none/none" in line]
    assert line.split() == ["none/none", "2.00", "ms", "2.00", "ms"]


def test_without_a_baseline_row_there_is_no_ratio_and_the_baseline_itself_is_1():
    lines = body(render(make_row("vit/eva/none", (1, 2, 3, 6)), make_row("mlp/sgd/none", (1, 2, 3, 6)))).splitlines()
    assert [line.split()[-1] for line in lines if "/none" in line] == ["—", "1"]


def test_a_loss_that_is_not_finite_is_said_so():
    assert "not finite" in body(render(make_row("mlp/sgd/none", (1, 2, 3, 6), counters={"loss": None})))


def test_figures_of_a_failed_variant_are_no_result():
    table = body(
        render(make_row("mlp/sgd/none", (0.1234, 2, 3, 6), parts={"a": 1, "b": 2}, failure="the worker ended"))
    )
    assert "123 ms" not in table
    assert "failed: the worker ended" in table
    assert "state:" not in table


def test_color_changes_nothing_but_color(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    colored, plain = render(FULL, color=True), render(FULL)
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain


def test_the_terminal_of_this_process_has_no_say(monkeypatch):
    expected = render(FULL)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "13")
    assert render(FULL) == expected


@whole_tables
@given(tables, st.integers(1, 250))
def test_whatever_is_measured_is_shown_and_moves_no_cursor(table, width):
    text = terminal.render(table, width=width, color=False)
    assert all(line.isprintable() for line in text.split("\n"))
    assert [line for line in text.split("\n") if line != line.rstrip()] == []
    for row in table.rows:
        assert row.variant.model in text
        assert str(row.variant).partition("/")[2].partition("@")[0] in text
        assert row.failure is None or "failed: " in text
