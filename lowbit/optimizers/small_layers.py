"""Kronecker vectors of many small layers at once: layers of one shape are laid side by side and averaged together.

For a small layer the call of an operation costs more than its work. A mean over positions treats channels alike, so
that pictures of one size are one picture of more channels, and rows of one number are one matrix of more columns.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import nn

from lowbit.optimizers.kronecker import input_vector, output_vector

# Elements above which the work of an average outweighs its call.
LARGEST = 1 << 15


Layer = nn.Linear | nn.Conv2d


def batched(layer: nn.Module, values: torch.Tensor) -> bool:
    """Says whether values are of several samples; those of one have no axis for them."""
    return values.ndim >= (4 if isinstance(layer, nn.Conv2d) else 2)


def vectors(layers: Sequence[Layer], seen: Sequence[torch.Tensor], samples: int, *, inputs: bool) -> list[torch.Tensor]:
    """Returns the vectors of passes: of their inputs the means, or of their outputs' gradients.

    `seen` has these for each layer, at least fp32 and without a graph; see kronecker for what the vectors are.
    """
    alike: dict[Hashable, list[int]] = {}
    for place, (layer, values) in enumerate(zip(layers, seen, strict=True)):
        shape = values.shape
        rest = (shape[0], *shape[2:]) if values.ndim == 4 else tuple(shape[:-1])
        window = _window(layer) if inputs else None
        alike.setdefault((window, values.ndim, rest, values.dtype, isinstance(layer, nn.Conv2d)), []).append(place)
    found: dict[int, torch.Tensor] = {}
    vector = input_vector if inputs else output_vector
    for places in alike.values():
        layer = layers[places[0]]
        axis = 1 if isinstance(layer, nn.Conv2d) else -1
        side_by_side = [seen[place] for place in places]
        one = side_by_side[0] if len(places) == 1 else torch.cat(side_by_side, axis)
        whole = vector(layer, one, samples)
        each = whole.numel() // one.shape[axis]
        parts = torch.split(whole, [values.shape[axis] * each for values in side_by_side])
        found.update(zip(places, parts, strict=True))
    return [found[place] for place in range(len(seen))]


def _window(layer: Layer) -> Hashable:
    """Returns what of a layer its input's vector depends on, beside the input."""
    if isinstance(layer, nn.Linear):
        return None
    return layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.padding_mode
