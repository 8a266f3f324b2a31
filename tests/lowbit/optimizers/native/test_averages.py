"""Averages in C++: what decoding, torch.lerp and encoding give, one after the other."""

from __future__ import annotations

import pytest
import torch

from lowbit.optimizers import blockwise
from lowbit.optimizers.native.averages import Averages

SIZES = (1, 16, 256, 300, 1000)


def problem(decay):
    fresh = [torch.randn(size) for size in SIZES]
    codes, scales = blockwise.encode([torch.randn(size) for size in SIZES])
    expected = [torch.lerp(old, new, decay) for old, new in zip(blockwise.decode(codes, scales), fresh, strict=True)]
    return codes, scales, fresh, expected


@pytest.mark.parametrize("decay", [0.05, 0.5, 0.95, 1.0])
def test_averages_are_those_of_torch_and_are_kept_in_place(decay):
    codes, scales, fresh, expected = problem(decay)
    found = Averages()(codes, scales, fresh, decay, keeps=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    for kept, encoded in zip((codes, scales), blockwise.encode(found), strict=True):
        assert all(torch.equal(*pair) for pair in zip(kept, encoded, strict=True))


def test_what_is_kept_elsewhere_stays_as_it_is():
    codes, scales, fresh, _ = problem(0.9)
    before = [part.clone() for part in codes + scales]
    Averages()(codes, scales, fresh, 0.9, keeps=False)
    assert all(torch.equal(*pair) for pair in zip(codes + scales, before, strict=True))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda codes, scales: ([*codes[:-1], codes[-1][:-1]], scales),
        lambda codes, scales: ([code.to(torch.int16) for code in codes], scales),
        lambda codes, scales: (codes, [*scales[:-1], scales[-1][:-1]]),
        lambda codes, scales: ([*codes[:-1], codes[-1].repeat_interleave(2)[::2]], scales),
    ],
)
def test_codes_of_other_sizes_are_refused(spoil):
    codes, scales, fresh, _ = problem(0.9)
    with pytest.raises(RuntimeError, match="statistics are not those of the model's layers"):
        Averages()(*spoil(codes, scales), fresh, 0.9, keeps=True)


def test_what_is_on_no_plain_memory_is_left_to_torch():
    codes, scales, fresh, _ = problem(0.9)
    averages = Averages()
    assert averages(codes, scales, fresh, 0.9, keeps=False) is not None
    assert averages(codes, scales, [vector.double() for vector in fresh], 0.9, keeps=False) is None
    assert averages(codes, [scale.half() for scale in scales], fresh, 0.9, keeps=False) is None


def test_what_is_laid_out_serves_the_same_state_and_no_other():
    averages = Averages()
    codes, scales, fresh, _ = problem(0.9)
    for given in ((codes, scales), (codes, scales), blockwise.encode(fresh), (codes, scales)):
        expected = [torch.lerp(old, new, 0.9) for old, new in zip(blockwise.decode(*given), fresh, strict=True)]
        for one, other in zip(averages(*given, fresh, 0.9, keeps=True), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)
    with pytest.raises(RuntimeError, match="statistics are not those of the model's layers"):
        averages(codes, scales, [vector[:-1] for vector in fresh[1:]] + fresh[:1], 0.9, keeps=True)
