"""The direction of a parameter: its share of the preconditioned gradients of all layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

from lowbit.optimizers.eva_layers import Layer


class Direction(NamedTuple):
    """One parameter's share of nu V = scale (G + column a^T); a bias is the last column of G, so its a is None."""

    column: torch.Tensor
    a: torch.Tensor | None
    groups: int


def directions_of(
    layers: Sequence[Layer],
    grads: Mapping[int, torch.Tensor],
    a: Sequence[torch.Tensor],
    columns: Sequence[torch.Tensor],
) -> dict[int, Direction]:
    """Returns the directions of the weights of layers, and of those biases that have a gradient, by `id`."""
    found: dict[int, Direction] = {}
    for layer, row, column in zip(layers, a, columns, strict=True):
        found[id(layer.weight)] = Direction(column, row, layer.groups)
        if layer.bias is not None and id(layer.bias) in grads:
            found[id(layer.bias)] = Direction(column, None, layer.groups)
    return found
