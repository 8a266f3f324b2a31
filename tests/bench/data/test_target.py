from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.target import Target, TargetProtocol
from bench.errors import InvalidOption, UnknownName
from tests.trainings import TARGET, training


@given(st.floats(1e-6, 1.0))
def test_a_target_reads_back_what_it_writes(value):
    value = float(f"{value:g}")
    target = Target(metric="accuracy", value=value)
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize("text", ["accuracy", "accuracy=", "accuracy=0", "accuracy=1.01", "accuracy=nan", "accuracy=x"])
def test_a_share_that_is_none_is_told_what_to_write(text):
    with pytest.raises(InvalidOption, match=r"write accuracy=SHARE, a number above 0 and up to 1: accuracy=0\.95"):
        Target.parse(text)


def test_another_metric_is_told_the_nearest():
    with pytest.raises(UnknownName, match="unknown target 'acuracy', did you mean 'accuracy'"):
        Target.parse("acuracy=0.9")


@pytest.mark.parametrize(
    "wrong",
    [
        {"seeds": 0},
        {"tuning_seeds": 0},
        {"every": 0},
        {"limit": 0},
        {"rates": ()},
        {"rates": (0.1, -1.0)},
        {"rates": (0.1, 0.1)},
    ],
)
def test_a_protocol_out_of_range_is_refused(wrong):
    with pytest.raises(InvalidOption):
        TargetProtocol(target=TARGET, **wrong)


def test_a_target_is_reached_at_the_first_look_at_or_beyond_it():
    made = training("sgd", 1, 0.5, 0.9, 0.4, 0.95)
    assert made.reached(TARGET).steps == 20
    assert made.best == 0.95
    assert training("sgd", 1, 0.5, 0.89).reached(TARGET) is None
    assert training("sgd", 1).best == 0.0
