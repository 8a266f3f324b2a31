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
from lowbit.optimizers.native.layout import Table, plain
from lowbit.optimizers.small_layers import Pass


class _Tables(NamedTuple):
    """What takes pictures to means: [kernel high, high] and [kernel wide, wide], and these numbers."""

    rows: torch.Tensor
    columns: torch.Tensor
    sizes: tuple[int, int, int, int]


# A layer with the shapes of its inputs and of its output's gradient.
_Of = tuple[nn.Linear | nn.Conv2d, torch.Size, torch.Size]
# Cells of one mean; the first is where its values lie.
WIDTH = 10


class _Plan(NamedTuple):
    """A call for certain layers with certain shapes: all that it needs but where their values lie."""

    of: list[_Of]
    table: Table
    sizes: list[int]
    # Their addresses are in the table.
    tables: list[_Tables]


class Vectors:
    """Takes the vectors of passes; what a call needs is laid out once for steps that are alike."""

    def __init__(self, samples: int) -> None:
        self._samples = samples
        self._plan = _Plan([], Table(()), [], [])

    def __call__(self, passes: Sequence[Pass]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Takes and returns what small_layers.vectors does; passes that are not all plain are left to it."""
        if not passes or not all(map(_fits, passes)):
            return small_layers.vectors(passes, self._samples)
        of = [(each.layer, each.inputs.shape, each.gradient.shape) for each in passes]
        if of != self._plan.of:
            self._plan = _planned(of, self._samples)
        _, table, sizes, _ = self._plan
        table.fill(WIDTH, {0: [values.data_ptr() for each in passes for values in (each.inputs, each.gradient)]})
        found = torch.empty(sum(sizes))
        library.call("vectors", table.address, len(sizes), found.data_ptr())
        parts = torch.split(found, sizes)
        return list(zip(parts[::2], parts[1::2], strict=True))


def _planned(of: list[_Of], samples: int) -> _Plan:
    cells, sizes, tables = list[int](), list[int](), list[_Tables]()
    for layer, *shapes in of:
        for shape, patch in zip(shapes, (True, False), strict=True):
            count = min(shape[0], samples)
            if isinstance(layer, nn.Conv2d):
                channels, table = shape[1], _patch(layer, shape) if patch else _pixels(shape[2] * shape[3])
            else:
                # Rows of a matrix, in however many dimensions, are pictures of one pixel.
                channels, table = shape[-1], _pixels(1)
                count *= math.prod(shape[1:-1])
            cells += (
                0, table.rows.data_ptr(), table.columns.data_ptr(), sum(sizes), count, channels, *table.sizes,
            )  # fmt: skip
            tables.append(table)
            sizes.append(channels * table.sizes[2] * table.sizes[3])
    return _Plan(of, Table(cells), sizes, tables)


def _fits(each: Pass) -> bool:
    layer = each.layer
    return (
        plain(each.inputs)
        and plain(each.gradient)
        and each.inputs.numel() > 0
        and (not isinstance(layer, nn.Conv2d) or layer.padding_mode == "zeros")
    )


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
