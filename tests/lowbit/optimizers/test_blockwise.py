from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lowbit.optimizers.blockwise import BLOCK, SMALLEST_SCALE, Layout, decode, dequantize, dynamic_map, encode, quantize

MAP = torch.tensor(dynamic_map(), dtype=torch.float64)
floats = st.floats(-1e6, 1e6, width=32)


def test_the_map_is_the_published_one():
    assert len(MAP) == 256
    assert torch.equal(MAP, MAP.sort().values)
    assert MAP.max() == 1.0
    assert MAP.min() == -0.99296875
    assert 0.0 in MAP
    negative, positive = MAP[MAP < 0], MAP[(MAP > 0) & (MAP < 1)]
    assert torch.equal(positive, -negative.flip(0))
    # Seven decades: 2**i values in [10**(i-7), 10**(i-6)].
    assert [int(((positive > 10.0 ** (i - 7)) & (positive < 10.0 ** (i - 6))).sum()) for i in range(7)] == [
        1, 2, 4, 8, 16, 32, 64,
    ]  # fmt: skip


@given(st.lists(floats, min_size=1, max_size=700))
@example([0.0, 1.401298464324817e-45])  # the smallest subnormal, whose reciprocal is infinite
def test_an_element_decodes_to_the_nearest_value_of_the_map(numbers):
    values = torch.tensor(numbers, dtype=torch.float32)
    (codes,), (scales,) = encode([values])
    (found,) = decode([codes], [scales])
    per_element = scales.repeat_interleave(BLOCK)[: len(values)].to(torch.float64)
    relative = torch.where(per_element > 0, values / per_element, 0)
    nearest = (relative.unsqueeze(1) - MAP).abs().min(1).values
    error = (found - values).abs() / torch.where(per_element > 0, per_element, 1)
    # Half precision moves a boundary by 2**-11 of the element, or by a subnormal's 2**-25; the rest is fp32's own.
    assert (error <= nearest + relative.abs() * 2**-10 + 2**-23).all()


@given(st.lists(floats, min_size=1, max_size=300))
def test_decoding_and_encoding_again_changes_no_code_of_a_block_whose_top_is_positive(numbers):
    values = torch.tensor([*numbers, 2e6], dtype=torch.float32)
    first = encode([values])
    second = encode(decode(*first)) if len(values) <= BLOCK else first
    assert torch.equal(first[0][0], second[0][0])
    assert torch.equal(first[1][0], second[1][0])


@given(st.lists(floats, min_size=1, max_size=BLOCK))
def test_codes_are_symmetric_but_for_the_top(numbers):
    values = torch.tensor(numbers, dtype=torch.float32)
    plus, minus = (decode(*encode([v]))[0] for v in (values, -values))
    scale = values.abs().max()
    inner = values.abs() < 0.99 * scale
    # A tie between two codes goes to the smaller one on either side of zero.
    assert ((plus + minus).abs()[inner] <= 0.0142 * scale).all()


def test_zero_and_the_largest_positive_element_are_exact_and_minus_it_is_not():
    values = torch.tensor([[0.0, 3.7, -3.7, 1e-9] + [0.0] * 252])
    found = dequantize(*quantize(values))
    assert found[0, 0] == 0
    assert found[0, 1] == values[0, 1]
    assert found[0, 2] == torch.tensor(3.7) * torch.tensor(-0.99296875)
    assert found[0, 3] == 0


def test_a_block_of_zeros_stays_zero():
    codes, scales = quantize(torch.zeros(2, BLOCK))
    assert (scales >= SMALLEST_SCALE).all()
    assert torch.equal(dequantize(codes, scales), torch.zeros(2, BLOCK))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stays_in_its_block_and_does_not_become_finite(bad):
    values = torch.ones(2, BLOCK)
    values[0, 5] = bad
    found = dequantize(*quantize(values))
    assert not torch.isfinite(found[0, 5])
    assert torch.equal(found[1], values[1])


@given(st.lists(st.integers(0, 600), min_size=1, max_size=6).filter(any), st.integers(0, 99))
def test_tensors_together_are_tensors_apart(sizes, seed):
    """No block holds parts of two tensors, whatever their sizes."""
    generator = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(size, generator=generator) * 10**index for index, size in enumerate(sizes)]
    codes, scales = encode(tensors)
    for tensor, code, scale in zip(tensors, codes, scales, strict=True):
        if len(tensor):
            (alone,), (alone_scale,) = encode([tensor])
            assert torch.equal(code, alone)
            assert torch.equal(scale, alone_scale)
    assert [len(part) for part in decode(codes, scales)] == sizes
    assert [len(scale) for scale in scales] == list(Layout(tuple(sizes)).blocks)


def test_the_number_of_operations_does_not_depend_on_the_number_of_tensors():
    from bench.run.counters import Operations

    # The first use in a process makes the tables.
    decode(*encode([torch.randn(50)]))
    counts = []
    for number in (1, 20):
        with Operations() as counter:
            decode(*encode([torch.randn(50) for _ in range(number)]))
        counts.append(counter.operations - number)  # randn itself
    assert counts[0] == counts[1]
