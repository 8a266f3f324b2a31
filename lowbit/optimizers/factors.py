"""The factors of a weight gradient, where C++ needs less time for what it needs of them than of the gradient.

For a linear layer with inputs X [rows, in] and output gradients D [rows, out], G = D^T X. With few rows the numbers
that Eva needs of G cost far less from X and D than from G, of which only some rows are then read, to be sure of it:

    g^T G a = (D g) . (X a)    and    |G|^2 = sum over r, s of (X X^T)_rs (D D^T)_rs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


def version(values: torch.Tensor | None) -> int:
    """Returns how often a tensor has been written to; of tensors of inference mode nobody counts it."""
    return 0 if values is None or values.is_inference() else values._version  # noqa: SLF001 - torch's own counter


class Factors(NamedTuple):
    """Inputs [rows, in] and output gradients [rows, out] of one pass through a linear layer."""

    inputs: torch.Tensor
    gradients: torch.Tensor

    @property
    def versions(self) -> tuple[int, int]:
        """How often each has been written to."""
        return version(self.inputs), version(self.gradients)


# Multiply-adds of small matrix products that take as long as reading and squaring one element of a gradient; measured
# on one core with AVX-512, where it lies between 10 and 20.
WORTH = 8


def worth_keeping(layer: nn.Module, inputs: torch.Tensor) -> bool:
    """Says whether both numbers cost less from the factors of a layer's gradient: every row meets every other."""
    if not isinstance(layer, nn.Linear):
        return False
    width, height = layer.in_features, layer.out_features
    rows = inputs.numel() // width
    return rows * (rows + 1) * (width + height) <= WORTH * width * height
