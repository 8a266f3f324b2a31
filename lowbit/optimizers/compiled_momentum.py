"""The descent of one large layer with its momentum in 8 bits, as compiled code.

Each block is gone over twice, as its largest value must be known before its first code: first it is decoded, then the
parameter descends and codes are made. In between, the momentum of this one block is in full precision, in the nearest
cache. The codes are those of square_map.

torch's compiler makes one loop over blocks, with a buffer of one block, only of what is written in this way: new codes
and scales are returned, since writing them over the old ones would be a third loop; and what is kept between the two
passes, momentum before weight decay, does not read the parameter, which the second pass overwrites.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import torch

from lowbit.optimizers import compiled_descent, momentum_8bit
from lowbit.optimizers.descent import Direction
from lowbit.optimizers.square_map import SMALLEST_SCALE, TOP, block_length

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lowbit.optimizers.hyperparameters import Rates

# What is computed from more tensors than these is kept between the two passes, and not computed again: momentum along a
# direction, before weight decay, is of seven. Whatever reads the parameter is of fewer, and must be.
READS = 6
# A length of blocks that no other length divides.
_PRIME = 251


def takes(parameter: torch.Tensor, grad: torch.Tensor, direction: Direction | None) -> bool:
    """Says whether a parameter is worth a call of compiled code, which it can be given as blocks within rows."""
    if (
        not compiled_descent.fits(parameter)
        or grad.dtype != parameter.dtype
        or not (parameter.is_contiguous() and grad.is_contiguous())
        or grad.is_sparse
    ):
        return False
    within = parameter.numel() if direction is None else parameter[0].numel()
    fits = within % block_length(parameter.shape) == 0
    return fits and (direction is None or compiled_descent.takes(parameter, direction))


def rehearse(directed: Iterable[torch.Tensor], others: Iterable[torch.Tensor] = ()) -> None:
    """Compiles what steps will need for some of these parameters, so that none has to wait for it.

    `directed` will have a direction. A row of one block is compiled by itself, as torch's compiler takes a size of one
    for a constant.
    """
    shapes = [(p[0].numel(), block_length(p.shape)) for p in directed if compiled_descent.fits(p)]
    # Sizes that differ from each other stand for all: equal ones would be taken for one.
    for blocks in sorted({1 if row == block else 3 for row, block in shapes if row % block == 0}):
        parameter = torch.zeros(5, blocks * _PRIME)
        direction = Direction(torch.zeros(5), torch.zeros(parameter.shape[1]), 1)
        step(parameter, torch.zeros_like(parameter), {}, direction, torch.ones(()), compiled_descent.ANY)
    if any(compiled_descent.fits(p) for p in others):
        step(torch.zeros(5, _PRIME), torch.zeros(5, _PRIME), {}, None, None, compiled_descent.ANY)


def step(
    parameter: torch.Tensor,
    grad: torch.Tensor,
    state: momentum_8bit.State,
    direction: Direction | None,
    scale: torch.Tensor | None,
    rates: Rates,
) -> None:
    """Updates a parameter in place, and codes and scales in its state; see descent.descend and momentum_8bit.load."""
    momentum_8bit.start(state, parameter)
    codes, scales = state["momentum_codes"], state["momentum_scales"]
    lr, momentum, weight_decay = (compiled_descent.scalar(value) for value in rates)
    plain = compiled_descent.plain
    blocks = plain(parameter.view(codes.shape)), plain(grad.view(codes.shape)), codes, scales * (momentum * TOP**-2)
    if direction is None:
        new = _run(_update, *blocks, lr, weight_decay)
    else:
        assert scale is not None
        assert direction.a is not None
        each = parameter[0].numel() // codes.shape[1]
        column = plain((direction.column * scale).repeat_interleave(each))
        a = plain(direction.a.clone().view(each, -1))
        places = _places(len(codes), each)
        new = _run(_update_directed, *blocks, column, a, places, scale, lr, weight_decay)
    for kept, value in zip((codes, scales), new, strict=True):
        kept.copy_(value)


_run = functools.partial(compiled_descent.run, realize_reads_threshold=READS)


def _update_directed(
    parameter: torch.Tensor,
    grad: torch.Tensor,
    codes: torch.Tensor,
    factors: torch.Tensor,
    column: torch.Tensor,
    a: torch.Tensor,
    places: torch.Tensor,
    scale: torch.Tensor,
    *rates: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Descends along scale G + column a^T, where a block has an element of `column` and, by its place, a part of a."""
    return _update(parameter, grad * scale + column[:, None] * a[places], codes, factors, *rates)


def _update(
    parameter: torch.Tensor,
    grad: torch.Tensor,
    codes: torch.Tensor,
    factors: torch.Tensor,
    lr: torch.Tensor,
    weight_decay: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Overwrites the parameter, and returns the new codes and scales.

    `factors` are what the square of a code is to be multiplied with, momentum included.
    """
    kept = codes.to(torch.float32)
    undecayed = kept * kept.abs() * factors.unsqueeze(-1) + grad
    moved = undecayed + parameter * weight_decay
    size = moved.abs()
    scales = (size + SMALLEST_SCALE).amax(-1)
    parameter.copy_(parameter * (1 - lr * weight_decay) - lr * undecayed)
    root = (size * (TOP**2 / scales).unsqueeze(-1)).sqrt().round()
    return torch.where(moved < 0, -root, root).to(torch.int8), scales


@functools.lru_cache(maxsize=256)
def _places(blocks: int, each: int) -> torch.Tensor:
    """Returns the place of every block in its row."""
    return torch.arange(each, dtype=torch.int32).repeat(blocks // each)
