"""The descent of many parameters in one call of C++: descent.cpp does what lowbit.optimizers.descent says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch

from lowbit.optimizers.direction import Direction
from lowbit.optimizers.hyperparameters import Rates
from lowbit.optimizers.native import library
from lowbit.optimizers.native.layout import Numbers, Table, address, plain, plain_gradient
from lowbit.optimizers.square_map import LONGEST

# Cells of a parameter, as descent.cpp reads them.
CELLS = 11
# A buffer of the parameter's shape, or int8 codes [blocks, block] with their scales.
Momentum = tuple[torch.Tensor] | tuple[torch.Tensor, torch.Tensor]


class Along(NamedTuple):
    """Where the directions of parameters are: addresses of column and a, 0 for none, and rows, columns and groups.

    A column has as many numbers as there are rows, an a as there are columns in each group.
    """

    columns: list[int]
    a: list[int]
    shapes: list[tuple[int, int, int]]


class Descent:
    """Descends along many parameters at once; what a call needs is laid out once for steps that are alike."""

    def __init__(self) -> None:
        self._of: list[object] = []
        self._table = Table(())
        # It stays where it is while it is held.
        self._changed: list[torch.Tensor] = []

    def __call__(
        self,
        parameters: Sequence[torch.Tensor],
        grads: Sequence[torch.Tensor],
        momenta: Sequence[Momentum],
        along: Along,
        scale: torch.Tensor | None,
        rates: Rates,
    ) -> None:
        """Updates parameters and their momentum in place; gradients stay as they are.

        `scale` is that of the directions, fp32 of no dimensions, and may be None where there are none. Raises
        RuntimeError for what is not of one shape.
        """
        if not parameters:
            return
        changed = [*parameters, *chain.from_iterable(momenta)]
        of = [
            *map(id, changed), *map(torch.Tensor.data_ptr, changed), *map(torch.Tensor.numel, changed),
            *map(torch.Tensor.numel, grads), *along.shapes,
        ]  # fmt: skip
        if of != self._of:
            self._table = Table(_cells(parameters, grads, momenta, along))
            self._of, self._changed = of, changed
        self._table.fill(CELLS, {1: list(map(torch.Tensor.data_ptr, grads)), 5: along.columns, 6: along.a})
        numbers = Numbers(map(float, rates))
        library.call(
            "descend", self._table.address, len(parameters), address(scale), numbers.address, torch.get_num_threads()
        )
        # Whoever has saved one of them for a backward pass must hear that it has changed.
        torch.autograd.graph.increment_version(changed)


def _cells(
    parameters: Sequence[torch.Tensor], grads: Sequence[torch.Tensor], momenta: Sequence[Momentum], along: Along
) -> list[int]:
    """Lays out what is constant; raises RuntimeError for what is not of one shape.

    C++ takes sizes on trust: state that was loaded, or a parameter that has grown, must not write where it likes.
    """
    cells: list[int] = []
    for parameter, grad, momentum, (rows, columns, groups) in zip(
        parameters, grads, momenta, along.shapes, strict=True
    ):
        size = parameter.numel()
        here = all(part.is_cpu and part.is_contiguous() for part in momentum)
        fit = here and grad.numel() == size == rows * columns and rows % groups == 0
        if len(momentum) == 1:
            (buffer,) = momentum
            fit = fit and buffer.numel() == size and buffer.dtype is torch.float32
            where, block = (buffer.data_ptr(), 0, 0), 0
        else:
            codes, scales = momentum
            blocks, block = codes.shape
            fit = fit and codes.dtype is torch.int8 and scales.numel() == blocks
            fit = fit and 0 <= blocks * block - size < block <= LONGEST
            where = 0, codes.data_ptr(), scales.data_ptr()
        if not fit:
            raise _mismatch(parameter)
        cells += (parameter.data_ptr(), 0, *where, 0, 0, rows, columns, groups, block)
    return cells


def _mismatch(parameter: torch.Tensor) -> RuntimeError:
    return RuntimeError(
        f"the state of a parameter {list(parameter.shape)} is that of another shape; load a state that was saved with "
        "this model, or make a new optimizer when parameters change"
    )


def takes(rates: Rates, healthy: torch.Tensor | None) -> bool:
    """Says whether steps of such rates can be done in C++: what is a tensor may be on a device, and stays there."""
    numbers = not any(isinstance(rate, torch.Tensor) for rate in rates)
    # Without momentum there is nothing to keep, and torch keeps nothing.
    return numbers and healthy is None and rates.momentum > 0 and not torch.compiler.is_compiling()


def fits(parameter: torch.Tensor, grad: torch.Tensor, direction: Direction | None) -> bool:
    """Says whether a parameter is of the kind that C++ takes: fp32, on the CPU, contiguous, as its direction is."""
    vectors = () if direction is None else (direction.column, direction.a)
    return plain(parameter) and plain_gradient(grad) and all(vector is None or plain(vector) for vector in vectors)


def along(parameters: Sequence[torch.Tensor], directions: Sequence[Direction | None]) -> Along:
    """Returns where directions are. Raises RuntimeError for one that is not of its parameter's shape."""
    found = Along([], [], [])
    for parameter, direction in zip(parameters, directions, strict=True):
        size = parameter.numel()
        column, a, groups = (None, None, 1) if direction is None else direction
        rows = size if column is None else column.numel()
        columns = 1 if a is None else a.numel() // groups
        if rows * columns != size:
            raise _mismatch(parameter)
        found.columns.append(address(column))
        found.a.append(address(a))
        found.shapes.append((rows, columns, groups))
    return found
