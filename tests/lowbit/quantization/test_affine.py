from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowbit.quantization.affine import dequantize, fake_quantize, grid, quantize, scale_and_zero_point

BITS = st.integers(2, 8)
ENDS = st.tuples(st.floats(-100, 0), st.floats(0, 100))


def parts(low, high, chosen, symmetric):
    return scale_and_zero_point(torch.tensor(low), torch.tensor(high), chosen, symmetric=symmetric)


@pytest.mark.parametrize(
    ("arguments", "low", "high"),
    [
        ({"bits": 8, "signed": True}, -128, 127),
        ({"bits": 8, "signed": True, "symmetric": True}, -127, 127),
        ({"bits": 8, "signed": False}, 0, 255),
        ({"bits": 8, "signed": False, "reduce_range": True}, 0, 127),
        ({"bits": 2, "signed": True, "symmetric": True}, -1, 1),
    ],
)
def test_grids(arguments, low, high):
    found = grid(**arguments)
    assert (found.low, found.high) == (low, high)


@pytest.mark.parametrize("bits", [0, 1, 9, 33, 2.5, "4"])
def test_bits_that_are_none_are_refused(bits):
    with pytest.raises(ValueError, match=f"bits={bits!r}: must be a whole number from 2 to 8"):
        grid(bits, signed=True)


def test_a_reduced_range_leaves_two_bits_at_least():
    with pytest.raises(ValueError, match="leaves 1, at least 2"):
        grid(2, signed=False, reduce_range=True)


@pytest.mark.parametrize(("low", "high"), [(float("nan"), 1.0), (0.0, float("inf")), (float("inf"), float("-inf"))])
def test_a_range_that_is_not_finite_is_refused(low, high):
    with pytest.raises(ValueError, match="calibration saw NaN, an infinity, or nothing"):
        parts(low, high, grid(8, signed=False), False)


def test_a_range_upside_down_is_refused():
    with pytest.raises(ValueError, match="upside down"):
        parts(2.0, 1.0, grid(8, signed=False), False)


@given(BITS, ENDS, st.booleans(), st.booleans())
def test_zero_is_met_exactly_and_no_value_inside_is_further_than_half_a_step(bits, given_ends, signed, symmetric):
    low, high = given_ends
    chosen = grid(bits, signed=signed, symmetric=symmetric)
    scale, zero_point = parts(low, high, chosen, symmetric)
    assert float(dequantize(quantize(torch.tensor(0.0), scale, zero_point, chosen), scale, zero_point)) == 0
    values = torch.linspace(low, high, 101)
    restored = dequantize(quantize(values, scale, zero_point, chosen), scale, zero_point)
    # The zero point is rounded, too, which moves the ends by at most half a step.
    assert float((restored - values).abs().max()) <= float(scale) * (1.0 + 1e-3) + 1e-30


@given(BITS, ENDS, st.booleans())
def test_fake_quantization_is_quantization_bit_for_bit(bits, given_ends, symmetric):
    chosen = grid(bits, signed=True, symmetric=symmetric)
    scale, zero_point = parts(*given_ends, chosen, symmetric)
    values = torch.linspace(-150, 150, 301)
    assert torch.equal(
        fake_quantize(values, scale, zero_point, chosen),
        dequantize(quantize(values, scale, zero_point, chosen), scale, zero_point),
    )


def test_the_gradient_is_the_identitys_inside_the_grid_and_none_where_values_were_clamped():
    chosen = grid(4, signed=True, symmetric=True)
    scale, zero_point = parts(-1.0, 1.0, chosen, True)
    values = torch.tensor([-2.0, -1.0, -0.3, 0.0, 0.4, 1.0, 1.1], requires_grad=True)
    fake_quantize(values, scale, zero_point, chosen).sum().backward()
    assert values.grad.tolist() == [0, 1, 1, 1, 1, 1, 0]


def test_scales_follow_the_formula():
    scale, zero_point = parts(-1.0, 3.0, grid(8, signed=False), False)
    assert float(scale) == pytest.approx(4 / 255)
    assert int(zero_point) == 64
    scale, zero_point = parts(-1.0, 3.0, grid(8, signed=True, symmetric=True), True)
    assert (float(scale), int(zero_point)) == (pytest.approx(3 / 127), 0)
    assert int(parts(-1.0, 3.0, grid(8, signed=False), True)[1]) == 128
