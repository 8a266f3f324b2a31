from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lowbit.deploy import performance as performances
from lowbit.deploy.document import SCHEMA, document
from lowbit.deploy.target import InvalidTarget, Target
from lowbit.deploy.timing import Times
from lowbit.deploy.trace import trace
from tests.lowbit.deploy.samples import CHIP, MACHINE, cost, performance, two

SECONDS = st.floats(1e-7, 1e3)
COUNTS = st.integers(0, 2**40)


@given(whole=SECONDS, frames=st.integers(1, 10**6), operations=COUNTS, size=st.integers(1, 2**40))
def test_the_identities_of_the_published_report_hold_exactly(whole, frames, operations, size):
    layers = [cost("a", operations=operations), cost("b", outputs={"quint8": size})]
    found = performance(layers, [whole / 3, whole / 2], whole=whole, frames=frames)
    (run,) = document([found], {})["runs"]
    summary = run["summary"]
    assert summary["fps"] == summary["frames"] / summary["latency"]["center"]
    assert summary["bytes"] == summary["loaded_bytes"] + summary["stored_bytes"]
    assert summary["bytes_per_second"] == summary["bytes"] * summary["runs_per_second"]
    assert summary["bytes_per_frame"] == summary["bytes"] / summary["frames"]
    assert summary["operations_per_frame"] == summary["operations"] / summary["frames"]
    assert summary["operations"] == sum(layer["operations"] for layer in run["layers"])
    assert summary["loaded_bytes"] == sum(
        sum(layer["weight_bytes"].values()) + sum(layer["input_bytes"].values()) for layer in run["layers"]
    )


def test_layers_are_added_up_with_the_glue_and_never_scaled():
    found = performance([cost("a"), cost("b")], [1.0, 2.0], whole=10.0, glue=0.5)
    assert found.added == 3.5
    assert [row.share for row in found.rows] == [0.1, 0.2]


def test_the_part_of_the_bound_that_is_reached():
    (row,) = performance([cost()], [4e-5], whole=4e-5).rows
    assert row.reached == pytest.approx(0.5)


def joined(**given):
    traced = trace(nn.Sequential(nn.Linear(3, 2), nn.ReLU()), torch.randn(5, 3))
    places = {"0": (0.5,) * 3, "1": (0.25,) * 3, "": (0.1,) * 3}
    times = Times(whole=(1.0, 1.0, 1.2), cpu=(0.5,) * 3, marked=(2.0,) * 3, places=places, places_cpu=places)
    given = {"trace": traced, "frames": 5, "times": times, "machine": MACHINE} | given
    return performances.performance("model", **given)


def test_what_was_traced_is_joined_with_what_was_timed():
    found = joined()
    assert [(row.cost.name, row.time.center) for row in found.rows] == [("0", 0.5), ("1", 0.25)]
    assert (found.latency, found.fps, found.cpu, found.marked, found.glue.center) == (1.0, 5.0, 0.5, 2.0, 0.1)
    assert (found.operations, found.weights) == (2 * 5 * 3 * 2, 4 * (6 + 2))
    assert found.predicted is None


def test_a_model_that_is_timed_as_a_whole_only_has_costs_without_times():
    found = joined(times=Times(whole=(1.0, 1.0), cpu=(1.0, 1.0), marked=(), places={}, places_cpu={}))
    assert (found.added, found.glue, found.marked) == (None, None, None)
    assert all(row.time is None and row.reached is None and row.bound for row in found.rows)


def test_a_target_is_asked_for_what_a_layer_needs():
    assert joined(on=CHIP).predicted > 0
    with pytest.raises(InvalidTarget, match="layer '0'"):
        joined(on=Target(name="chip", peak={"int8": 1e9}, bandwidth=1e9))


def test_the_document_is_plain_json_with_a_schema():
    text = json.dumps(document(two(), {"torch": "2"}), allow_nan=False)
    plain = json.loads(text)
    assert (plain["kind"], plain["schema"], plain["versions"]) == ("performance", SCHEMA, {"torch": "2"})
    first, second = plain["runs"]
    assert first["variant"] == "model/none/int8"
    assert first["target"]["fps"] == pytest.approx(32 / first["target"]["latency"])
    assert math.isclose(second["layers"][0]["time"]["center"], 2e-3)
    assert second["layers"][0]["bound"] == {"seconds": 2e-5, "by": "compute"}
    assert second["layers"][1]["intensity"] == 0
