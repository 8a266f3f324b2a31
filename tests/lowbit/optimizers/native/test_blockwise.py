"""Coding in C++: bit for bit what torch's operations give."""

from __future__ import annotations

import torch
from hypothesis import example, given
from hypothesis import strategies as st

from lowbit.optimizers import blockwise
from lowbit.optimizers.native import blockwise as native

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.lists(numbers, max_size=600), min_size=1, max_size=4))
@example([[0.0, 1.401298464324817e-45], [], [3.4e38, -3.4e38, 6e-5, 6.2e-5, 1.0]])
def test_codes_scales_and_values_are_bit_for_bit_the_same(vectors):
    tensors = [torch.tensor(vector, dtype=torch.float32) for vector in vectors]
    expected, found = blockwise.encode(tensors), native.encode(tensors)
    for part in (0, 1):
        assert all(torch.equal(*pair) for pair in zip(expected[part], found[part], strict=True))
    decoded = blockwise.decode(*expected), native.decode(*expected)
    assert all(torch.equal(*pair) for pair in zip(*decoded, strict=True))


def test_all_magnitudes_of_half_precision_are_coded_alike():
    """Each lies at one boundary of rounding or between two; so do its neighbours in fp32."""
    halves = torch.arange(0, 0x3C01, dtype=torch.int16).view(torch.float16).float()
    for values in (halves, halves * (1 + 2**-11), halves * (1 - 2**-12), torch.nextafter(halves, torch.ones(()))):
        blocks = torch.cat([values.view(-1, 1), -values.view(-1, 1), torch.ones(len(values), 1)], 1).view(-1)
        # A block for each few values keeps the scale at one.
        parts = list(blocks.clamp(-1, 1).split(3 * 85))
        expected, found = blockwise.encode(parts), native.encode(parts)
        assert all(torch.equal(*pair) for pair in zip(expected[0], found[0], strict=True))


def test_what_is_not_finite_decodes_to_such_values_in_its_block_only():
    for bad in (float("nan"), float("inf"), -float("inf")):
        values = torch.randn(600)
        values[300] = bad
        (decoded,) = native.decode(*native.encode([values]))
        assert torch.isfinite(decoded[:256]).all()
        assert torch.isfinite(decoded[512:]).all()
        assert not torch.isfinite(decoded[256:512]).any()


def test_what_is_not_plain_is_left_to_torchs_operations():
    wide = [torch.randn(300, dtype=torch.float64)]
    for one, other in zip(native.encode(wide), blockwise.encode(wide), strict=True):
        assert torch.equal(one[0], other[0])
