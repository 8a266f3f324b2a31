from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowbit.pipeline.plan import Plan
from lowbit.quantization.flow import QuantizationError

plans = st.builds(
    Plan,
    model=st.just("tiny"),
    flow=st.sampled_from(["kbit-8", "f8net"]),
    modules=st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), max_size=2).map(tuple),
    wide_output=st.none() | st.text(min_size=1),
    epochs=st.integers(0, 9),
    calibration=st.integers(1, 9),
    optimizer=st.sampled_from(["adam", "sgd"]),
    lr=st.floats(1e-6, 1),
    seed=st.integers(0, 9),
    input_scale=st.none() | st.floats(1e-6, 1),
    yuv=st.booleans(),
)


@given(plans)
def test_a_plan_is_read_back_from_what_files_hold(plan):
    assert Plan.from_plain(json.loads(json.dumps(plan.to_plain()))) == plan


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"calibration": 0}, "calibration=0: calibration has no batch; give one example at least"),
        ({"epochs": -1}, "epochs=-1: must be 0 or more"),
        ({"qat_epochs": -1}, "qat_epochs=-1: must be 0 or more"),
        ({"batch": 1}, "batch=1: must be 2 or more"),
        ({"threads": 0}, "threads=0: must be 1 or more"),
        ({"seed": -1}, "seed=-1: must be 0 or more"),
        ({"seed": 2**31}, "seed=2147483648: must be 2147483647 or less"),
        ({"batch": 10**20}, "batch=100000000000000000000: must be 2147483647 or less"),
        ({"optimizer": "adm"}, "unknown optimizer 'adm'; must be one of adam, sgd"),
        ({"lr": 0.0}, "lr=0: must be a positive number"),
        ({"qat_lr": float("nan")}, "qat_lr=nan: must be a positive number"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(given, says):
    with pytest.raises(QuantizationError, match=says):
        Plan(model="tiny", flow="kbit-8", **given)
