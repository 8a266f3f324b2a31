"""The input of a network on a device: bytes of a fixed scale, which nothing is calibrated for."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import nn

from lowbit.quantization.affine import fake_quantize, grid, quantize
from lowbit.quantization.flow import QuantizationError

# Of pictures that a camera pipeline gives as bytes about zero, and a network sees as -1 to 1.
CAMERA = 1 / 128
INT8 = grid(8, signed=True)


class InputStub(nn.Module):
    """Rounds inputs to signed bytes of a fixed scale; the gradient passes where nothing was clamped.

    It stands before a model, not inside: whatever a flow traces or replaces, the scale stays the one that is given.
    Raises QuantizationError for a scale that is not a positive number.
    """

    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, scale: float = CAMERA) -> None:
        super().__init__()
        if not 0 < scale < math.inf:
            raise QuantizationError(f"input scale {scale:g}: must be a positive number, 1/128 for a camera's pictures")
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))
        self.register_buffer("zero_point", torch.tensor(0, dtype=torch.int32))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns what the bytes stand for, in the shape and dtype of `values`."""
        return fake_quantize(values, self.scale.to(values.dtype), self.zero_point, INT8)

    def codes(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the bytes, int8, that a device is given."""
        return quantize(values, self.scale.to(values.dtype), self.zero_point, INT8)


def parse_scale(text: str) -> float:
    """Returns a scale that was written as 1/128 or 0.0078125; raises QuantizationError for anything else."""
    try:
        scale = float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        scale = math.nan
    if not 0 < scale < math.inf:
        raise QuantizationError(f"input scale {text!r}: must be a positive number, such as 1/128 or 0.0078125")
    return scale
