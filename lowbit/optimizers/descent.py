"""SGD with momentum along preconditioned gradients, in as few passes over memory as torch allows.

A preconditioned gradient is nu V = scale (G + column a^T): one factor for all layers, and an outer product for each. In
torch's fused SGD the factor is `grad_scale`, so that it takes no pass of its own; the outer product is added to the
gradient in place, as the published code rewrites gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from lowbit.optimizers.direction import Direction
from lowbit.optimizers.hyperparameters import Rates
from lowbit.optimizers.native import descent as native


def momentum_buffer(state: dict[str, Any], parameter: torch.Tensor) -> torch.Tensor:
    """Returns the buffer that a parameter's state keeps, to be updated in place; zeros for a first step."""
    if "momentum_buffer" not in state:
        state["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
    buffer: torch.Tensor = state["momentum_buffer"]
    return buffer


class _Part(NamedTuple):
    """What belongs to one parameter."""

    parameter: torch.Tensor
    grad: torch.Tensor
    buffer: torch.Tensor
    direction: Direction | None


def descend(
    parameters: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    buffers: Sequence[torch.Tensor],
    rates: Rates,
    *,
    scale: torch.Tensor | None,
    directions: Sequence[Direction | None],
    healthy: torch.Tensor | None = None,
    compiled: native.Descent | None = None,
) -> None:
    """Updates buffers and parameters in place: buffer <- momentum buffer + nu V + decay p, p <- p - lr buffer.

    This is torch.optim.SGD (no dampening, no Nesterov) on preconditioned gradients; a buffer of zeros gives its
    first step. Where a direction is None, nu V is the gradient. Where `healthy` is false nothing changes but gradients,
    which may be overwritten. With `compiled` what C++ takes is updated there, and its gradients stay as they are.
    """
    found_inf = None if healthy is None else (~healthy).float()
    if all(direction is None for direction in directions) and _alike(parameters, grads):
        _fused(parameters, grads, buffers, rates, None, found_inf)
        return
    parts = [_Part(*of) for of in zip(parameters, grads, buffers, directions, strict=True)]
    if compiled is not None and native.takes(rates, healthy):
        parts = _compiled_first(parts, compiled, scale, rates)
    groups: dict[tuple[torch.dtype, torch.device, bool], list[_Part]] = {}
    loose: list[_Part] = []
    for part in parts:
        p = part.parameter
        if _alike([p], [part.grad]):
            groups.setdefault((p.dtype, p.device, part.direction is not None), []).append(part)
        else:
            loose.append(part)
    for (_, _, directed), same in groups.items():
        own, their = [part.parameter for part in same], [part.buffer for part in same]
        if not directed:
            _fused(own, [part.grad for part in same], their, rates, None, found_inf)
            continue
        assert scale is not None
        # The kernel reads its divisor in fp32, which is not enough for parameters of more.
        divisor = scale.reciprocal().float() if same[0].parameter.dtype.itemsize <= 4 else None
        corrected = [part.grad for part in same]
        for part in same:
            assert part.direction is not None
            _correct(part.grad, part.direction)
        if divisor is None:
            torch._foreach_mul_(corrected, scale)
        _fused(own, corrected, their, rates, divisor, found_inf)
    if loose:
        _unfused(loose, rates, scale, healthy)


def _compiled_first(
    parts: Sequence[_Part], compiled: native.Descent, scale: torch.Tensor | None, rates: Rates
) -> list[_Part]:
    """Updates what C++ takes of what has a direction, and returns the rest: what has none torch takes all at once."""
    taken, rest = list[_Part](), list[_Part]()
    for part in parts:
        fit = part.direction is not None and native.fits(part.parameter, part.grad, part.direction)
        (taken if fit else rest).append(part)
    if taken:
        parameters, grads, buffers, directions = zip(*taken, strict=True)
        momenta = [(buffer,) for buffer in buffers]
        compiled(parameters, grads, momenta, native.along(parameters, directions), scale, rates)
    return rest


def _alike(parameters: Sequence[torch.Tensor], grads: Sequence[torch.Tensor]) -> bool:
    """Says whether the fused kernel takes all at once: it reads them as they lie in memory, and does not check how."""
    tensors = [*parameters, *grads]
    return (
        len({values.dtype for values in tensors}) == 1
        and fused_is_right(parameters[0])
        and len({values.device for values in tensors}) == 1
        and {values.layout for values in grads} == {torch.strided}
        and all(map(torch.Tensor.is_contiguous, tensors))
    )


def fused_is_right(parameter: torch.Tensor) -> bool:
    """Says whether torch's fused SGD can be trusted with a parameter.

    Up to torch 2.13 it leaves parameters in half precision on the CPU as they are (pytorch issue 191763).
    """
    return parameter.device.type != "cpu" or parameter.dtype.itemsize >= torch.float32.itemsize


def _fused(
    parameters: Sequence[torch.Tensor],
    grads: Sequence[torch.Tensor],
    buffers: Sequence[torch.Tensor],
    rates: Rates,
    divisor: torch.Tensor | None,
    found_inf: torch.Tensor | None,
) -> None:
    torch._fused_sgd_(
        list(parameters), list(grads), list(buffers) if rates.momentum else [],
        **rates._asdict(), dampening=0.0, nesterov=False, maximize=False, is_first_step=False, grad_scale=divisor,
        found_inf=found_inf,
    )  # fmt: skip


def _correct(grad: torch.Tensor, direction: Direction) -> None:
    """Adds column a^T to a contiguous G in place, to each curvature block on its own where there are several."""
    column, a, groups = direction
    if column.dtype != grad.dtype:
        column, a = column.to(grad.dtype), None if a is None else a.to(grad.dtype)
    if a is None:
        grad.add_(column)
    elif groups == 1:
        # As a product of matrices: on the CPU addr_ takes twice as long.
        grad.view(grad.shape[0], -1).addmm_(column.unsqueeze(1), a.unsqueeze(0))
    else:
        blocks = grad.view(groups, grad.shape[0] // groups, -1)
        blocks.baddbmm_(column.view(groups, -1, 1), a.view(groups, 1, -1))


def _unfused(
    parts: Sequence[_Part],
    rates: Rates,
    scale: torch.Tensor | None,
    healthy: torch.Tensor | None,
) -> None:
    """Does the same for parameters and gradients of any layout."""
    for p, grad, buffer, direction in parts:
        update = grad.to(buffer.dtype)
        if direction is not None:
            assert scale is not None
            update = update.clone(memory_format=torch.contiguous_format)
            _correct(update, direction)
            update *= scale.to(update.dtype)
        moved = buffer * rates.momentum + update + rates.weight_decay * p
        ahead = p - rates.lr * moved
        if healthy is not None:
            moved, ahead = torch.where(healthy, moved, buffer), torch.where(healthy, ahead, p)
        if rates.momentum:
            buffer.copy_(moved)
        p.copy_(ahead)
