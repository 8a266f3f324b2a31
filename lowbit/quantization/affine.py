"""Affine quantization: real numbers as integers of few bits, r = S (q - Z) (Jacob et al., arXiv 1712.05877, eq. 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

LEAST_BITS, MOST_BITS = 2, 8
# A range of one value only has no step; this one keeps it a number, and encodes the value as the zero point.
SMALLEST_SCALE = torch.finfo(torch.float32).tiny


@dataclass(frozen=True)
class Grid:
    """The integers that values are rounded to, both ends included."""

    low: int
    high: int

    @property
    def steps(self) -> int:
        """Number of steps between the ends."""
        return self.high - self.low

    @property
    def dtype(self) -> torch.dtype:
        """The smallest integer type of torch that holds them, of those for bytes and the one of 32 bits."""
        of_bytes = torch.int8 if self.low < 0 else torch.uint8
        info = torch.iinfo(of_bytes)
        return of_bytes if info.min <= self.low and self.high <= info.max else torch.int32


def grid(bits: int, *, signed: bool, symmetric: bool = False, reduce_range: bool = False) -> Grid:
    """Returns the integers of a number of bits; raises ValueError for others than 2 to 8.

    A symmetric grid leaves its lowest integer out, so that a value and its negative have codes of one size. With
    `reduce_range` one bit is given up, as kernels that add products of 8 bits in 16 need it.
    """
    if type(bits) is not int or not LEAST_BITS <= bits <= MOST_BITS:
        raise ValueError(f"bits={bits!r}: must be a whole number from {LEAST_BITS} to {MOST_BITS}")
    used = bits - reduce_range
    if used < LEAST_BITS:
        raise ValueError(f"bits={bits} with reduce_range: leaves {used}, at least {LEAST_BITS} are needed")
    if signed:
        half = 2 ** (used - 1)
        return Grid(-half + symmetric, half - 1)
    return Grid(0, 2**used - 1)


def scale_and_zero_point(
    low: torch.Tensor, high: torch.Tensor, grid: Grid, *, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns S, fp32 or wider as the range is, and Z, int32, that put a range on a grid; any shape, one per element.

    The range is widened to hold zero, which padding and ReLU must meet exactly (section 2.1). Symmetric: Z is the
    middle of the grid, and S takes the larger end to its end. Raises ValueError for a range that is not finite or
    upside down: what was observed held NaN, or nothing was observed at all.
    """
    if not bool(torch.isfinite(low).all() & torch.isfinite(high).all()):
        raise ValueError("the range is not finite: calibration saw NaN, an infinity, or nothing at all")
    if bool((low > high).any()):
        raise ValueError("the range is upside down: its low end is above its high one")
    low, high = low.clamp(max=0), high.clamp(min=0)
    if symmetric:
        middle = 0 if grid.low < 0 else (grid.high + 1) // 2
        scale = torch.maximum(-low, high) / (grid.high - middle)
        scale = scale.clamp(min=SMALLEST_SCALE)
        return scale, torch.full_like(scale, middle, dtype=torch.int32)
    scale = ((high - low) / grid.steps).clamp(min=SMALLEST_SCALE)
    zero_point = (grid.low - low / scale).round().clamp(grid.low, grid.high)
    return scale, zero_point.to(torch.int32)


def quantize(values: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Returns codes, int8 or uint8, of the shape of `values`: q = clamp(round(r / S) + Z), halves to even."""
    return _codes(values, scale, zero_point, grid).to(grid.dtype)


def dequantize(codes: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor) -> torch.Tensor:
    """Returns S (q - Z) in the dtype of S; S and Z are broadcast."""
    return (codes.to(scale.dtype) - zero_point) * scale


def fake_quantize(values: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, grid: Grid) -> torch.Tensor:
    """Returns what quantizing and dequantizing gives, with the gradient of the identity inside the grid.

    The straight-through estimator of Jacob et al., section 3: values that were clamped have no gradient. It is bit for
    bit `dequantize(quantize(...))`, so that a trained model and its integers agree.
    """
    result: torch.Tensor = _FakeQuantize.apply(values, scale, zero_point, grid)  # type: ignore[no-untyped-call]
    return result


def _codes(values: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, grid: Grid) -> torch.Tensor:
    return (values / scale).round().add(zero_point).clamp(grid.low, grid.high)


class _FakeQuantize(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, grid: Grid
    ) -> torch.Tensor:
        rounded = (values / scale).round().add(zero_point)
        ctx.save_for_backward((rounded >= grid.low) & (rounded <= grid.high))
        return dequantize(rounded.clamp(grid.low, grid.high), scale, zero_point)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None
