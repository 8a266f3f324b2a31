"""What Eva needs of a weight gradient, from the factors that the gradient is the product of.

For a linear layer with inputs X [rows, in] and output gradients D [rows, out], G = D^T X. With few rows the numbers
that Eva needs of G cost far less from X and D than from G, which is then not read at all:

    g^T G a = (D g) . (X a)    and    |G|^2 = sum over r, s of (X X^T)_rs (D D^T)_rs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn


class Factors(NamedTuple):
    """Inputs [rows, in] and output gradients [rows, out] of one pass through a linear layer."""

    inputs: torch.Tensor
    gradients: torch.Tensor

    @property
    def versions(self) -> tuple[int, int]:
        """How often each has been written to; of tensors of inference mode nobody counts it."""
        return tuple(0 if part.is_inference() else part._version for part in self)  # type: ignore[return-value]  # noqa: SLF001 - torch's own counter has no other name


# Multiply-adds of small matrix products that take as long as reading and squaring one element of a gradient; measured
# on one core with AVX-512, where it lies between 10 and 20.
WORTH = 8


def worth_keeping(layer: nn.Module, inputs: torch.Tensor) -> bool:
    """Says whether g^T G a costs less from the factors of a layer's gradient than from the gradient."""
    if not isinstance(layer, nn.Linear):
        return False
    rows = inputs.numel() // layer.in_features
    return 4 * rows * (layer.in_features + layer.out_features) <= layer.in_features * layer.out_features


def few_rows(factors: Factors) -> bool:
    """Says whether |G|^2 costs less from factors too: every row meets every other."""
    (rows, width), height = factors.inputs.shape, factors.gradients.shape[1]
    return rows * (rows + 1) * (width + height) <= WORTH * width * height


def across(factors: Factors, a: torch.Tensor, g: torch.Tensor, *, with_bias: bool) -> torch.Tensor:
    """Returns g^T G a, [1]; with the bias gradient as the last column of G, whose part of a is 1."""
    rows = factors.inputs.mv(a)
    return torch.dot(rows + 1 if with_bias else rows, factors.gradients.mv(g)).view(1)


def square(factors: Factors, *, with_bias: bool) -> torch.Tensor:
    """Returns |G|^2, [1], the bias gradient included as the last column of G."""
    inputs, gradients = factors
    if inputs.shape[0] == 1:
        of_inputs, of_gradients = (torch.dot(values[0], values[0]) for values in factors)
        return ((of_inputs + 1 if with_bias else of_inputs) * of_gradients).view(1)
    between: torch.Tensor = inputs @ inputs.T
    return torch.dot((between + 1 if with_bias else between).view(-1), (gradients @ gradients.T).view(-1)).view(1)
