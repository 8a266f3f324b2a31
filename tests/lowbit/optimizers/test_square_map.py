from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowbit.optimizers import square_map
from lowbit.optimizers.square_map import block_length, dequantize, quantize

floats = st.floats(-1e6, 1e6, width=32)


@given(st.lists(floats, min_size=1, max_size=600), st.integers(1, 4))
def test_a_value_is_off_by_half_a_code_at_most(numbers, rows):
    length = -(-len(numbers) // rows)
    values = torch.tensor(numbers + [0.0] * (rows * length - len(numbers))).view(rows, length)
    codes, scales = quantize(values)
    found = dequantize(codes, scales).double()
    scale = scales.double().unsqueeze(1)
    exact = values.double()
    bound = ((exact.abs() / scale).sqrt() * 127 + 0.25) / 127**2 * scale
    assert ((found - exact).abs() <= bound * (1 + 1e-4) + 1e-6 * exact.abs() + 1e-36).all()
    assert (codes.abs() <= 127).all()
    assert (found * exact >= 0).all()


@given(st.lists(floats, min_size=1, max_size=300))
def test_codes_are_symmetric_and_stay_the_same_when_decoded_and_encoded_again(numbers):
    values = torch.tensor([[*numbers, 1.0]])
    codes, scales = quantize(values)
    opposite, _ = quantize(-values)
    assert torch.equal(opposite, -codes)
    again, _ = quantize(dequantize(codes, scales))
    assert torch.equal(again, codes)


def test_a_transcription_gives_the_same_codes_in_chunks_of_any_size(monkeypatch):
    values = torch.randn(50, 100, generator=torch.Generator().manual_seed(0)) ** 3
    scales = values.abs().amax(1)
    expected = values.sign() * ((values.abs().double() / scales.double().unsqueeze(1)).sqrt() * 127).round()
    for chunk in (1, 700, 1 << 20):
        monkeypatch.setattr(square_map, "CHUNK", chunk)
        codes, found = quantize(values)
        assert torch.equal(found, scales)
        assert torch.equal(codes.double(), expected)
        decoded = expected * expected.abs() / 127**2 * scales.double().unsqueeze(1)
        assert (dequantize(codes, found) - decoded).abs().max() <= 1e-6 * scales.max()


def test_zeros_and_tiny_values_stay_finite():
    values = torch.tensor([[0.0, 0.0], [1.401298464324817e-45, 0.0], [1e-33, -1e-33]])
    found = dequantize(*quantize(values))
    assert torch.equal(found[0], values[0])
    assert torch.isfinite(found).all()
    assert (found.abs() <= 1e-30).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_in_its_block_and_does_not_become_finite(bad):
    values = torch.ones(2, 64)
    values[0, 5] = bad
    found = dequantize(*quantize(values))
    assert not torch.isfinite(found[0]).any()
    assert torch.equal(found[1], values[1])


@pytest.mark.parametrize(
    ("shape", "length"),
    [
        ((1000, 3072), 256),
        ((500, 1000), 250),
        ((64, 64, 3, 3), 192),
        ((16, 16, 3, 3), 144),
        ((250, 30), 250),  # rows of 30 are too short: blocks cross rows
        ((5000,), 250),
        ((89, 83), 83),
        ((4099,), 256),  # a prime: the last block is padded
    ],
)
def test_blocks_stay_in_rows_where_a_row_has_a_divisor_that_fits(shape, length):
    assert block_length(shape) == length
