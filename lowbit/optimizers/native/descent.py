"""The descent of many parameters in one call of C++: descent.cpp does what lowbit.optimizers.descent says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lowbit.optimizers.direction import Direction
from lowbit.optimizers.hyperparameters import Rates
from lowbit.optimizers.native import library
from lowbit.optimizers.native.layout import Numbers, Table, address, plain, plain_gradient
from lowbit.optimizers.square_map import LONGEST


class Part(NamedTuple):
    """A parameter with its gradient, its direction, and its momentum: a buffer, or int8 codes [blocks, block]."""

    parameter: torch.Tensor
    grad: torch.Tensor
    direction: Direction | None
    buffer: torch.Tensor | None = None
    codes: torch.Tensor | None = None
    scales: torch.Tensor | None = None


_NOWHERE = (None, None, 1, True)


def takes(rates: Rates, healthy: torch.Tensor | None) -> bool:
    """Says whether steps of such rates can be done in C++: what is a tensor may be on a device, and stays there."""
    numbers = not any(isinstance(rate, torch.Tensor) for rate in rates)
    # Without momentum there is nothing to keep, and torch keeps nothing.
    return numbers and healthy is None and rates.momentum > 0 and not torch.compiler.is_compiling()


def fits(parameter: torch.Tensor, grad: torch.Tensor, direction: Direction | None) -> bool:
    """Says whether a parameter is of the kind that C++ takes: fp32, on the CPU, contiguous, as its direction is."""
    if direction is None:
        return plain(parameter) and plain_gradient(grad)
    if direction.plain:
        return plain(parameter) and grad.dtype is parameter.dtype
    vectors = (direction.column,) if direction.a is None else (direction.column, direction.a)
    return plain(parameter) and plain_gradient(grad) and all(map(plain, vectors))


def descend(parts: Sequence[Part], scale: torch.Tensor | None, rates: Rates) -> None:
    """Updates parameters and their momentum in place; gradients stay as they are.

    `scale` is that of the directions, fp32 of no dimensions, and may be None where no part has one.
    """
    if not parts:
        return
    cells: list[int] = []
    changed: list[torch.Tensor] = []
    for parameter, grad, direction, buffer, codes, scales in parts:
        rows, size = max(1, parameter.shape[0] if parameter.ndim else 1), parameter.numel()
        column, a, groups, _ = direction or _NOWHERE
        # C++ takes sizes on trust: state that was loaded, or a parameter that has grown, must not write where it likes.
        fit = grad.numel() == size
        if codes is None or scales is None:
            assert buffer is not None
            fit = fit and buffer.numel() == size and buffer.dtype is torch.float32
            momentum, block = (buffer.data_ptr(), 0, 0), 0
            changed += (parameter, buffer)
        else:
            blocks, block = codes.shape
            fit = fit and codes.dtype is torch.int8 and scales.numel() == blocks
            fit = fit and 0 <= blocks * block - size < block <= LONGEST
            momentum = 0, codes.data_ptr(), scales.data_ptr()
            changed += (parameter, codes, scales)
        if column is not None:
            long = column.numel()
            fit = fit and (size == long if a is None else size * groups == long * a.numel())
        if not fit:
            raise RuntimeError(
                f"the state of a parameter {list(parameter.shape)} is that of another shape; load a state that was "
                "saved with this model, or make a new optimizer when parameters change"
            )
        cells += (
            parameter.data_ptr(), grad.data_ptr(), *momentum, address(column), address(a), rows, size // rows, groups,
            block,
        )  # fmt: skip
    table, numbers = Table(cells), Numbers(map(float, rates))
    library.call("descend", table.address, len(parts), address(scale), numbers.address, torch.get_num_threads())
    # Whoever has saved one of them for a backward pass must hear that it has changed.
    torch.autograd.graph.increment_version(changed)
