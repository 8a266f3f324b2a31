from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given

from bench.data.protocol import PROTOCOL_VERSION, Protocol, default_budget_s
from bench.errors import InvalidOption
from tests.strategies import protocols


@given(protocols)
def test_replicates_share_the_budget(protocol):
    assert protocol.replicates == protocol.workers * protocol.rounds
    assert protocol.replicates * protocol.replicate_s == pytest.approx(protocol.budget_s)


def test_a_run_of_few_variants_lasts_long_enough_to_see_a_machine_change_its_speed():
    assert [default_budget_s(variants) for variants in (1, 2, 12)] == [30.0, 15.0, 6.0]


def test_the_version_is_that_of_this_code():
    assert Protocol().version == PROTOCOL_VERSION


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("budget_s", 0.0, "budget 0.0 s: must be a positive number of seconds"),
        ("budget_s", -1.0, "must be a positive"),
        ("budget_s", float("nan"), "must be a positive"),
        ("budget_s", float("inf"), "must be a positive"),
        ("workers", 0, "workers 0: must be 1 or more"),
        ("rounds", -3, "rounds -3: must be 1 or more"),
        ("quality_steps", 0, "quality_steps 0: must be 1 or more"),
    ],
)
def test_a_value_out_of_range_says_what_is_allowed(option, value, says):
    with pytest.raises(InvalidOption, match=says):
        Protocol(**{option: value})


def test_a_protocol_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Protocol().seed = 1
