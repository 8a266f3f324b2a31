"""Block-wise 8-bit codes by arithmetic: value = sign(c) (c / 127)^2 scale, with one fp32 scale per block.

The square spends codes where momentum has its values, near zero, and it vectorizes, where a map that is a table does
not. Sources: the linear-square map of Wang et al., "4-bit Shampoo for Memory-Efficient Network Training" (arXiv
2405.18144), section 3.1, with 8 bits and both signs; one scale per block as in arXiv 2110.02861, section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

TOP = 127
# Blocks between these lengths: shorter ones cost too many scales, longer ones too much of the precision.
SHORTEST, LONGEST = 64, 256
# Added to a block's largest magnitude: without it the factor of the encoding would overflow. It changes no scale above
# 1e-22, and is cheaper than a bound.
SMALLEST_SCALE = 1e-30
# Elements that are coded at one time, so that what passes from one operation to the next stays in the second cache.
CHUNK = 1 << 17


def block_length(shape: Sequence[int]) -> int:
    """Returns the length of the blocks of a tensor.

    It is the largest divisor of a row's length in [64, 256], so that no block crosses rows of the weight as a matrix
    [out, in]; without one, that of the number of elements; without that either 256, and the last block is padded.
    """
    size = 1
    for length in shape:
        size *= length
    row = size // shape[0] if shape else size
    for whole in (row, size):
        for length in range(LONGEST, SHORTEST - 1, -1):
            if whole % length == 0:
                return length
    return LONGEST


def quantize(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Encodes fp32 [blocks, block]: returns int8 codes of the same shape and the scales, fp32 [blocks].

    A scale is its block's largest magnitude plus 1e-30; the code is the one nearest to 127 sqrt(|v| / scale).
    So a value is off by at most (127 sqrt(|v| / scale) + 1/4) / 127^2 of its scale, and zero and either largest value
    by nothing but rounding in fp32. A block with a value that is not finite decodes to such values.
    """
    codes = torch.empty_like(values, dtype=torch.int8)
    scales = values.new_empty(len(values))
    rows = max(1, CHUNK // values.shape[1])
    for part, code, scale in zip(values.split(rows), codes.split(rows), scales.split(rows), strict=True):
        size = part.abs()
        torch.amax(size, 1, out=scale)
        scale.add_(SMALLEST_SCALE)
        size.mul_((TOP**2 / scale).unsqueeze(1)).sqrt_().round_()
        code.copy_(size.copysign_(part))
    return codes, scales


def dequantize(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Decodes int8 [blocks, block] to fp32 of that shape."""
    values = torch.empty_like(codes, dtype=torch.float32)
    rows = max(1, CHUNK // codes.shape[1])
    factors = (scales / TOP**2).unsqueeze(1)
    for part, code, factor in zip(values.split(rows), codes.split(rows), factors.split(rows), strict=True):
        part.copy_(code)
        part.mul_(part.abs()).mul_(factor)
    return values
