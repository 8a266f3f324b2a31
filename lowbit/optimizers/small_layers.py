"""Kronecker vectors of many small layers at once: layers of one shape are laid side by side and averaged together.

For a small layer the call of an operation costs more than its work. A mean over positions treats channels alike, so
that pictures of one size are one picture of more channels, and rows of one number are one matrix of more columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import torch
from torch import nn

from lowbit.optimizers.kronecker import input_vector, output_vector

# Elements above which the work of an average outweighs its call; what waits is held until backward is done.
LARGEST = 1 << 15


class Pass(NamedTuple):
    """One pass through a layer: its inputs and its output's gradient, both at least fp32 and without a graph."""

    name: str
    layer: nn.Linear | nn.Conv2d
    inputs: torch.Tensor
    gradient: torch.Tensor


def waits(layer: nn.Module, inputs: torch.Tensor, output: torch.Tensor) -> bool:
    """Says whether a pass is small enough to be held and averaged with others."""
    return (
        inputs.numel() <= LARGEST
        and output.numel() <= LARGEST
        and inputs.ndim >= (4 if isinstance(layer, nn.Conv2d) else 2)
    )


def vectors(passes: Sequence[Pass], samples: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Returns the pair of vectors of each pass; see kronecker for what they are."""
    a = _together([(_window(each), each.inputs) for each in passes], passes, samples, inputs=True)
    g = _together([(None, each.gradient) for each in passes], passes, samples, inputs=False)
    return list(zip(a, g, strict=True))


def _together(
    items: Sequence[tuple[Hashable, torch.Tensor]], passes: Sequence[Pass], samples: int, *, inputs: bool
) -> list[torch.Tensor]:
    alike: dict[Hashable, list[int]] = {}
    for place, (window, values) in enumerate(items):
        shape = values.shape
        rest = (shape[0], *shape[2:]) if values.ndim == 4 else tuple(shape[:-1])
        alike.setdefault(
            (window, values.ndim, rest, values.dtype, isinstance(passes[place].layer, nn.Conv2d)), []
        ).append(place)
    found: dict[int, torch.Tensor] = {}
    vector = input_vector if inputs else output_vector
    for places in alike.values():
        layer = passes[places[0]].layer
        axis = 1 if isinstance(layer, nn.Conv2d) else -1
        side_by_side = [items[place][1] for place in places]
        one = side_by_side[0] if len(places) == 1 else torch.cat(side_by_side, axis)
        whole = vector(layer, one, samples)
        each = whole.numel() // one.shape[axis]
        parts = torch.split(whole, [values.shape[axis] * each for values in side_by_side])
        found.update(zip(places, parts, strict=True))
    return [found[place] for place in range(len(items))]


def _window(each: Pass) -> Hashable:
    """Returns what of a layer its input's vector depends on, beside the input."""
    layer = each.layer
    if isinstance(layer, nn.Linear):
        return None
    return layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.padding_mode
