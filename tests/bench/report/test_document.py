from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from bench.data.measurement import Caveat
from bench.report import document
from tests.bench.report.conftest import make_row, make_table, tables, whole_tables


def test_a_row_has_its_figures_in_seconds_and_bytes():
    row = make_row(
        "mlp/eva-8bit/none@batch=32", (0.001, 0.002, 0.003, 0.0065), half=1.0, ratio=2.0,
        counters={"state_bytes": 12, "loss": None}, parts={"momentum": 12},
        caveats=(Caveat(code="drift", message="steps became slower"),),
    )  # fmt: skip
    content = json.loads(document.render([make_table(row)]))
    assert (content["schema"], content["kind"]) == (document.SCHEMA, "report")
    (table,) = content["tables"]
    assert table["environment"]["torch"] == "2.13.0"
    assert table["protocol"]["workers"] == 5
    (written,) = table["rows"]
    assert written["variant"] == "mlp/eva-8bit/none@batch=32"
    assert written["axes"]["batch"] == 32
    assert written["metrics"]["step"] == {
        "center": 0.0065, "low": 0.00325, "high": 0.013, "samples": 120, "replicates": 10, "workers": 5,
    }  # fmt: skip
    assert written["ratio"] == {"center": 2.0, "low": 1.0, "high": 4.0, "pairs": 10, "baseline": "mlp/sgd/none"}
    assert written["counters"] == {"state_bytes": 12, "loss": None}
    assert written["caveats"] == [{"code": "drift", "message": "steps became slower"}]
    assert written["failure"] is None


def test_no_tables_are_a_document_too():
    assert json.loads(document.render([])) == {"schema": document.SCHEMA, "kind": "report", "tables": []}


@whole_tables
@given(st.lists(tables, max_size=2))
def test_figures_are_kept_to_the_last_digit(drawn):
    content = json.loads(document.render(drawn), parse_constant=lambda name: 1 / 0)
    for table, written in zip(drawn, content["tables"], strict=True):
        assert written["baseline"] == table.baseline
        for row, shown in zip(table.rows, written["rows"], strict=True):
            assert shown["variant"] == str(row.variant)
            assert {name: metric["center"] for name, metric in shown["metrics"].items()} == {
                name: summary.center for name, summary in row.summaries.items()
            }
            assert shown["counters"] == row.counters.values
            assert shown["state_bytes"] == row.counters.state_bytes
            assert shown["failure"] == row.failure
