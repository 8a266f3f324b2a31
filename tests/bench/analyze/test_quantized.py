from __future__ import annotations

import pytest

from bench.analyze.quantized import caveats
from bench.analyze.row import Ratio
from bench.data.measurement import WHEN_SLOWER, Caveat, Counters, Measurement
from bench.data.protocol import Protocol
from bench.data.variant import Variant

SLOW = Caveat(code=WHEN_SLOWER, message="it is made for ARM")
OTHER = Caveat(code="partly-quantized", message="so")


def measurement(text="m/none/q", phases=("forward",), caveats=(), **values):
    return Measurement(
        variant=Variant.parse(text), protocol=Protocol(), phases=phases, caveats=caveats,
        counters=Counters(values=values),
    )  # fmt: skip


def ratio(low, center=1.5):
    return Ratio(center=center, low=low, high=9.0, pairs=9, baseline=Variant.parse("m/none/none"))


@pytest.mark.parametrize(
    ("found", "heard"), [(ratio(1.2), True), (ratio(0.9), False), (ratio(None), False), (None, False)]
)
def test_why_it_is_slow_is_said_only_where_it_is(found, heard):
    codes = [one.code for one in caveats(measurement(caveats=(OTHER, SLOW)), found, None)]
    assert codes == ["partly-quantized", *[WHEN_SLOWER] * heard]


def test_how_slow_is_said_with_it():
    (found,) = caveats(measurement(caveats=(SLOW,)), ratio(1.2, 1.78), None)
    assert found.message == "takes 1.78 times as long as the fastest float row: it is made for ARM"


@pytest.mark.parametrize(
    ("model_bytes", "phases", "heard"),
    [(1000, ("forward",), True), (300, ("forward",), False), (1000, ("forward", "optimize"), False)],
)
def test_a_model_that_did_not_become_smaller_says_so(model_bytes, phases, heard):
    plain = measurement("m/none/none", model_bytes=1000)
    one = measurement(phases=phases, model_bytes=model_bytes, integer_bytes=250, eligible_layers=1)
    found = caveats(one, None, plain)
    assert [caveat.code for caveat in found] == ["not-smaller"] * heard
    if heard:
        assert "1.00 times the bytes of the float model: 25 % of its bytes are integers" in found[0].message


def test_a_float_row_is_not_asked_to_be_small():
    assert caveats(measurement("m/none/none", model_bytes=1000), None, measurement(model_bytes=1000)) == ()
