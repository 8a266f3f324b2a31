"""The descent of many parameters in one call of C++: descent.cpp does what lowbit.optimizers.descent says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lowbit.optimizers.direction import Direction
from lowbit.optimizers.hyperparameters import Rates
from lowbit.optimizers.native import library
from lowbit.optimizers.native.layout import Numbers, Table, address, plain
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
        return plain(parameter) and plain(grad)
    if direction.plain:
        return plain(parameter) and grad.dtype is parameter.dtype
    of = (
        (parameter, grad, direction.column) if direction.a is None else (parameter, grad, direction.column, direction.a)
    )
    return all(map(plain, of))


def _check(
    parameter: torch.Tensor,
    alike: tuple[torch.Tensor | None, ...],
    codes: torch.Tensor | None,
    scales: torch.Tensor | None,
    direction: Direction | None,
) -> None:
    """Raises RuntimeError for tensors that do not belong together: C++ takes their sizes on trust."""
    size = parameter.numel()
    fit = all(part is None or (part.numel() == size and part.dtype is torch.float32) for part in alike)
    if codes is not None and scales is not None:
        fit = fit and codes.dtype is torch.int8 and codes.numel() >= size and scales.numel() == codes.shape[0]
        fit = fit and codes.shape[1] <= LONGEST and codes.shape[0] * codes.shape[1] - size < codes.shape[1]
    if direction is not None:
        rows = direction.column.numel()
        fit = fit and (size == rows if direction.a is None else size * direction.groups == rows * direction.a.numel())
    if not fit:
        raise RuntimeError(
            f"the state of a parameter {list(parameter.shape)} is that of another shape; load a state that was saved "
            "with this model, or make a new optimizer when parameters change"
        )


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
        _check(parameter, (grad, buffer), codes, scales, direction)
        if codes is None or scales is None:
            assert buffer is not None
            momentum, block = (buffer.data_ptr(), 0, 0), 0
            changed += (parameter, buffer)
        else:
            momentum, block = (0, codes.data_ptr(), scales.data_ptr()), codes.shape[1]
            changed += (parameter, codes, scales)
        cells += (
            parameter.data_ptr(), grad.data_ptr(), *momentum, address(column), address(a), rows, size // rows, groups,
            block,
        )  # fmt: skip
    table, numbers = Table(cells), Numbers(map(float, rates))
    library.call("descend", table.address, len(parts), address(scale), numbers.address, torch.get_num_threads())
    # Whoever has saved one of them for a backward pass must hear that it has changed.
    torch.autograd.graph.increment_version(changed)
