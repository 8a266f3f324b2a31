"""Kronecker vectors of small layers in one call of C++: vectors.cpp gives what lowbit.optimizers.small_layers does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from lowbit.optimizers import kronecker, small_layers
from lowbit.optimizers.kronecker import Window
from lowbit.optimizers.native import library
from lowbit.optimizers.native.layout import Table, all_plain_gradients, plain_gradient
from lowbit.optimizers.small_layers import Layer


class _Tables(NamedTuple):
    """What takes pictures to means: [kernel high, high] and [kernel wide, wide], and these numbers."""

    rows: torch.Tensor
    columns: torch.Tensor
    sizes: tuple[int, int, int, int]


# Cells of one mean; the first is where its values lie.
WIDTH = 10
# Elements of what is averaged here with others; above it a call of its own costs next to nothing.
LARGEST = 1 << 18
# Plans that are kept: of those who call with ever other layers none serves twice.
PLANS = 64


# Shapes of what layers saw, and how kernels of convolutions move, which anybody may change.
_Seen = tuple[list[torch.Size], list[tuple[object, ...]]]


class _Plan(NamedTuple):
    """A call for certain layers with certain shapes: all that it needs but where their values lie."""

    layers: list[Layer]
    of: _Seen
    table: Table
    sizes: list[int]
    # Their addresses are in the table.
    tables: list[_Tables]


class Vectors:
    """Takes the vectors of passes; what a call needs is laid out once for steps that are alike."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._plans: dict[tuple[int, ...], _Plan] = {}

    def __call__(self, layers: Sequence[Layer], seen: Sequence[torch.Tensor], *, inputs: bool) -> list[torch.Tensor]:
        """Takes and returns what small_layers.vectors does; passes that C++ does not take are left to it."""
        key = (inputs, *map(id, layers))
        moves: list[tuple[object, ...]] = (
            [(x.stride, x.padding, x.dilation) for x in layers if isinstance(x, nn.Conv2d)] if inputs else []
        )
        of: _Seen = [values.shape for values in seen], moves
        plan = self._plans.get(key)
        if plan is None or plan.of != of or not all_plain_gradients(seen):
            fit = [
                _padded_with_zeros(layer) and values.numel() > 0 and plain_gradient(values)
                for layer, values in zip(layers, seen, strict=True)
            ]
            if not all(fit):
                return self._some(fit, layers, seen, inputs=inputs)
            if len(self._plans) >= PLANS:
                self._plans.clear()
            plan = self._plans[key] = _planned(list(layers), of, self._samples, inputs=inputs)
        plan.table.fill(WIDTH, {0: list(map(torch.Tensor.data_ptr, seen))})
        found = torch.empty(sum(plan.sizes))
        library.call("vectors", plan.table.address, len(seen), found.data_ptr())
        return list(torch.split(found, plan.sizes))

    def _some(
        self, fit: Sequence[bool], layers: Sequence[Layer], seen: Sequence[torch.Tensor], *, inputs: bool
    ) -> list[torch.Tensor]:
        """Takes the vectors of passes that fit, and leaves the others to torch's operations."""
        here, there = ([at for at, fits in enumerate(fit) if fits is wanted] for wanted in (True, False))
        rest = small_layers.vectors(
            [layers[at] for at in there], [seen[at] for at in there], self._samples, inputs=inputs
        )
        own = self([layers[at] for at in here], [seen[at] for at in here], inputs=inputs) if here else []
        found = dict(zip((*here, *there), (*own, *rest), strict=True))
        return [found[at] for at in range(len(fit))]


def _planned(layers: list[Layer], of: _Seen, samples: int, *, inputs: bool) -> _Plan:
    cells, sizes, tables = list[int](), list[int](), list[_Tables]()
    for layer, shape in zip(layers, of[0], strict=True):
        count = min(shape[0], samples)
        if isinstance(layer, nn.Conv2d):
            channels, table = shape[1], _patch(layer, shape) if inputs else _pixels(shape[2] * shape[3])
        else:
            # Rows of a matrix, in however many dimensions, are pictures of one pixel.
            channels, table = shape[-1], _pixels(1)
            count *= math.prod(shape[1:-1])
        cells += (0, table.rows.data_ptr(), table.columns.data_ptr(), sum(sizes), count, channels, *table.sizes)
        tables.append(table)
        sizes.append(channels * table.sizes[2] * table.sizes[3])
    return _Plan(layers, of, Table(cells), sizes, tables)


def _padded_with_zeros(layer: Layer) -> bool:
    return not isinstance(layer, nn.Conv2d) or layer.padding_mode == "zeros"


def _patch(layer: nn.Conv2d, shape: torch.Size) -> _Tables:
    """Returns the tables that take a picture to its mean patch under a layer's kernel."""
    around = kronecker.padding(layer)
    return _tables(kronecker.windows(shape[2:], layer.kernel_size, layer.stride, layer.dilation, around))


def _pixels(count: int) -> _Tables:
    """Returns the tables that take a picture, as one row of pixels, to their mean."""
    return _tables(kronecker.windows((1, count), (1, 1), (1, 1), (1, 1), (0, 0, 0, 0)))


def _tables(over: tuple[Window, Window]) -> _Tables:
    rows, columns = (kronecker.window_means(window, torch.float32, torch.device("cpu")) for window in over)
    high, wide = over
    return _Tables(rows, columns, (high.size, wide.size, high.kernel, wide.kernel))
