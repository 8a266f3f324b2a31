"""The descent of one large layer as compiled code: parameter, gradient and buffer are each read once.

torch has no kernel for SGD along a gradient with an outer product added. Compiled by torch.compile it moves the 20
bytes per parameter that SGD with momentum has to, and no more. One kernel serves layers of every shape.
"""

from __future__ import annotations

import functools
import shutil
from typing import TYPE_CHECKING, Any

import torch

from lowbit.optimizers.hyperparameters import Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lowbit.optimizers.descent import Direction

# Below this many elements the call of compiled code costs more than the passes that it saves.
SMALLEST = 1 << 16
# Three rates for a rehearsal: equal ones would be one tensor, and taken for one rate.
ANY = Rates(0.1, 0.2, 0.3)


def available() -> bool:
    """Says whether this machine can compile for the CPU."""
    return any(shutil.which(name) for name in ("g++", "clang++", "c++"))


def fits(parameter: torch.Tensor) -> bool:
    """Says whether a parameter is large enough, and where and what compiled code takes."""
    return parameter.numel() >= SMALLEST and parameter.device.type == "cpu" and parameter.dtype == torch.float32


def takes(parameter: torch.Tensor, direction: Direction | None) -> bool:
    """Says whether a parameter is worth a call of compiled code, along such a direction."""
    return (
        fits(parameter)
        and direction is not None
        and direction.a is not None
        and direction.groups == 1
        and direction.a.dtype == parameter.dtype
    )


def rehearse(weights: Iterable[torch.Tensor]) -> None:
    """Compiles what steps will need for some of these weights, so that none has to wait for it."""
    # Sizes that differ from each other stand for all: equal ones would be taken for one.
    if any(fits(weight) for weight in weights):
        parameter = torch.zeros(5, 7)
        buffer, column, a = torch.zeros(5, 7), torch.zeros(5), torch.zeros(7)
        step(parameter, torch.zeros(5, 7), buffer, column, a, torch.ones(()), ANY)


def step(
    parameter: torch.Tensor,
    grad: torch.Tensor,
    buffer: torch.Tensor,
    column: torch.Tensor,
    a: torch.Tensor,
    scale: torch.Tensor,
    rates: Rates,
) -> None:
    """Updates one contiguous parameter and its buffer in place; see descent.descend."""
    rows = parameter.shape[0]
    # For one kernel whatever they are views of: a is a part of a vector of all layers.
    parts = (plain(each.view(rows, -1)) for each in (parameter, grad, buffer))
    run(_update, *parts, column * scale, a.clone(), scale, *(scalar(value) for value in rates))


def plain(values: torch.Tensor) -> torch.Tensor:
    """Returns a tensor of the same memory that is nobody's view and has no gradient, as compiled code asks for both."""
    return values.detach()


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


def run(update: Callable[..., Any], *values: Any, **options: Any) -> Any:
    """Calls an update as compiled code, or as it is written where somebody looks at each operation that is dispatched.

    torch does not compile in that case, and would leave uncompiled for good what it has seen so.
    """
    if torch._C._len_torch_dispatch_stack():  # noqa: SLF001 - the public one makes a list of all modes
        return update(*values)
    return _compiled(update, **options)(*values)


@functools.cache
def _compiled(update: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return torch.compile(update, dynamic=True, options=options)


@functools.lru_cache(maxsize=32)
def _constant(value: float) -> torch.Tensor:
    """Keeps a number as a tensor: as a number it would be compiled in, and compiled anew when it changes."""
    return torch.tensor(value, dtype=torch.float32)


def scalar(value: float | torch.Tensor) -> torch.Tensor:
    """Returns a number as the fp32 tensor that compiled code takes."""
    return value.float() if isinstance(value, torch.Tensor) else _constant(value)
