"""The descent of one large layer as compiled code: parameter, gradient and buffer are each read once.

torch has no kernel for SGD along a gradient with an outer product added. Compiled by torch.compile it moves the 20
bytes per parameter that SGD with momentum has to, and no more. One kernel serves layers of every shape.
"""

from __future__ import annotations

import functools
import shutil
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from lowbit.optimizers.descent import Direction

# Below this many elements the call of compiled code costs more than the passes that it saves.
SMALLEST = 1 << 16


def available() -> bool:
    """Says whether this machine can compile for the CPU."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def takes(parameter: torch.Tensor, direction: Direction | None) -> bool:
    """Says whether a parameter is worth a call of compiled code."""
    return (
        parameter.numel() >= SMALLEST
        and direction is not None
        and direction.a is not None
        and direction.groups == 1
        and direction.a.dtype == parameter.dtype
    )


def step(
    parameter: torch.Tensor,
    grad: torch.Tensor,
    buffer: torch.Tensor,
    column: torch.Tensor,
    a: torch.Tensor,
    *,
    scale: torch.Tensor,
    lr: float | torch.Tensor,
    momentum: float,
    weight_decay: float,
) -> None:
    """Updates one contiguous parameter and its buffer in place; see descent.descend."""
    rows = parameter.shape[0]
    _compiled()(
        parameter.view(rows, -1), grad.view(rows, -1), buffer.view(rows, -1), column * scale, a, scale,
        scalar(lr), scalar(momentum), scalar(weight_decay),
    )  # fmt: skip


def _update(
    parameter: torch.Tensor,
    grad: torch.Tensor,
    buffer: torch.Tensor,
    column: torch.Tensor,
    a: torch.Tensor,
    scale: torch.Tensor,
    lr: torch.Tensor,
    momentum: torch.Tensor,
    weight_decay: torch.Tensor,
) -> None:
    moved = buffer * momentum + (grad * scale + column[:, None] * a[None, :]) + parameter * weight_decay
    buffer.copy_(moved)
    parameter.copy_(parameter - lr * moved)


@functools.cache
def _compiled() -> Callable[..., Any]:
    # Not `fullgraph`: where a mode counts operations nothing is compiled, and that must be no error.
    return torch.compile(_update, dynamic=True)


@functools.lru_cache(maxsize=32)
def _constant(value: float) -> torch.Tensor:
    """Keeps a number as a tensor: as a number it would be compiled in, and compiled anew when it changes."""
    return torch.tensor(value, dtype=torch.float32)


def scalar(value: float | torch.Tensor) -> torch.Tensor:
    """Returns a number as the fp32 tensor that compiled code takes."""
    return value.float() if isinstance(value, torch.Tensor) else _constant(value)
