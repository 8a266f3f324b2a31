"""The descent of one large layer with its momentum in 8 bits, as compiled code.

Codes are decoded, used and encoded by two loops: one decodes, descends and takes each block's largest value, the other
encodes. Between them the momentum of this layer, and of no other, is in memory in full precision. The codes are those
of square_map.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import torch

from lowbit.optimizers import compiled_descent, momentum_8bit
from lowbit.optimizers.square_map import SMALLEST_SCALE, TOP, block_length

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowbit.optimizers.descent import Direction


def takes(parameter: torch.Tensor, grad: torch.Tensor, direction: Direction | None) -> bool:
    """Says whether a parameter is worth a call of compiled code, which it can be given as blocks within rows."""
    if (
        parameter.numel() < max(compiled_descent.SMALLEST, momentum_8bit.SMALLEST)
        or not parameter.dtype == grad.dtype == torch.float32
        or parameter.device.type != "cpu"
        or not (parameter.is_contiguous() and grad.is_contiguous())
        or grad.is_sparse
    ):
        return False
    within = parameter.numel() if direction is None else parameter[0].numel()
    fits = within % block_length(parameter.shape) == 0
    return fits and (direction is None or compiled_descent.takes(parameter, direction))


def step(
    parameter: torch.Tensor,
    grad: torch.Tensor,
    state: momentum_8bit.State,
    direction: Direction | None,
    *,
    scale: torch.Tensor | None,
    lr: float | torch.Tensor,
    momentum: float,
    weight_decay: float,
) -> None:
    """Updates a parameter in place, and codes and scales in its state; see descent.descend and momentum_8bit.load."""
    momentum_8bit.start(state, parameter)
    codes, scales = state["momentum_codes"], state["momentum_scales"]
    rates = [compiled_descent.scalar(value) for value in (lr, momentum, weight_decay)]
    blocks = parameter.view(codes.shape), grad.view(codes.shape), codes, scales
    if direction is None:
        _compiled(_update)(*blocks, *rates)
    else:
        assert scale is not None
        assert direction.a is not None
        each = parameter[0].numel() // codes.shape[1]
        _compiled(_update_directed)(
            *blocks, (direction.column * scale).repeat_interleave(each), direction.a.view(each, -1),
            _places(len(codes), each), scale, *rates,
        )  # fmt: skip


def _update_directed(
    parameter: torch.Tensor,
    grad: torch.Tensor,
    codes: torch.Tensor,
    scales: torch.Tensor,
    column: torch.Tensor,
    a: torch.Tensor,
    places: torch.Tensor,
    scale: torch.Tensor,
    *rates: torch.Tensor,
) -> None:
    """Descends along scale G + column a^T, where a block has an element of `column` and, by its place, a part of a."""
    _update(parameter, grad * scale + column[:, None] * a[places], codes, scales, *rates)


def _update(
    parameter: torch.Tensor,
    grad: torch.Tensor,
    codes: torch.Tensor,
    scales: torch.Tensor,
    lr: torch.Tensor,
    momentum: torch.Tensor,
    weight_decay: torch.Tensor,
) -> None:
    kept = codes.to(torch.float32)
    decoded = kept * kept.abs() * (scales * momentum * TOP**-2).unsqueeze(-1)
    moved = decoded + grad + parameter * weight_decay
    parameter.copy_(parameter - lr * moved)
    scales.copy_(moved.abs().amax(-1) + SMALLEST_SCALE)
    size = (moved.abs() * (TOP**2 / scales).unsqueeze(-1)).sqrt().round()
    codes.copy_(torch.where(moved < 0, -size, size).to(torch.int8))


@functools.cache
def _compiled(update: Callable[..., Any]) -> Callable[..., Any]:
    # Not `fullgraph`: where a mode counts operations nothing is compiled, and that must be no error.
    return torch.compile(update, dynamic=True)


@functools.lru_cache(maxsize=256)
def _places(blocks: int, each: int) -> torch.Tensor:
    """Returns the place of every block in its row."""
    return torch.arange(each, dtype=torch.int32).repeat(blocks // each)
