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


# Multiply-adds of small matrix products that take as long as reading and squaring one element of a gradient; measured
# on one core with AVX-512, where it lies between 10 and 20.
WORTH = 8


def few_rows(layer: nn.Module, inputs: torch.Tensor) -> bool:
    """Says whether a layer's inputs are so few that its factors are cheaper to use than its gradient."""
    if not isinstance(layer, nn.Linear):
        return False
    sides = layer.in_features + layer.out_features
    rows = inputs.numel() // layer.in_features
    return rows * (rows + 1) * sides <= WORTH * layer.in_features * layer.out_features


def products(
    factors: Factors, a: torch.Tensor, g: torch.Tensor, *, with_bias: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns |G|^2 and g^T G a, each [1]; with the bias gradient as the last column of G, whose part of a is 1."""
    inputs, gradients = factors
    ours, theirs = inputs.mv(a), gradients.mv(g)
    if inputs.shape[0] == 1:
        square = torch.linalg.vector_norm(inputs).square()
        if with_bias:
            square, ours = square + 1, ours + 1
        return (square * torch.linalg.vector_norm(gradients).square()).view(1), ours * theirs
    between = inputs @ inputs.T
    if with_bias:
        between, ours = between + 1, ours + 1
    return (between * (gradients @ gradients.T)).sum().view(1), torch.dot(ours, theirs).view(1)
