"""Eva's update of all layers as one pure function, in the form of which torch.compile makes few passes over memory.

The same equations as eva_update's, which serves where each operation is a call: there products of matrices read what
they need, here the sums of a layer stand side by side, and its descent is one expression, so that a compiler can fuse
either into one kernel. A layer of several curvature blocks is a batch of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lowbit.optimizers.eva_update import clip_factor, scalars


class Moved(NamedTuple):
    """What SGD reads of one parameter, with its rates."""

    parameter: torch.Tensor
    grad: torch.Tensor
    buffer: torch.Tensor
    lr: torch.Tensor
    momentum: torch.Tensor
    weight_decay: torch.Tensor
    # Without momentum torch leaves the buffer as it is.
    keeps: bool


class LayerTensors(NamedTuple):
    """What a step needs of one layer: weight [out, ...], perhaps a bias [out], a [blocks * in] and g [out]."""

    weight: Moved
    bias: Moved | None
    a: torch.Tensor
    g: torch.Tensor
    blocks: int


def updated(
    layers: Sequence[LayerTensors], damping: float, kl_clip: float | None
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Returns the new value and the new buffer of each weight, as a matrix, each followed by those of its bias.

    V = (G - beta g a^T) / gamma for each layer and nu for all of them are those of eva_update; then, as in SGD,
    buffer <- momentum buffer + nu V + decay p and p <- p - lr buffer. Rates are tensors of no dimensions: as numbers
    they would be compiled in.
    """
    sums = [_sums(layer) for layer in layers]
    g_sq, a_sq, grad_sq, g_grad_a = (torch.cat(parts) for parts in zip(*sums, strict=True))
    block = scalars(g_sq, a_sq, grad_sq, g_grad_a, damping)
    blocks = [layer.blocks for layer in layers]
    v_dot_g = torch.split(block.v_dot_g, blocks)
    weighted = [values * layer.weight.lr.square() for values, layer in zip(v_dot_g, layers, strict=True)]
    scale = clip_factor(torch.cat(weighted).sum(), block.v_dot_v, grad_sq, kl_clip) / damping
    found = []
    for layer, beta in zip(layers, torch.split(block.beta, blocks), strict=True):
        a, g = _vectors(layer)
        column = g * -(beta if layer.blocks == 1 else beta.unsqueeze(1))
        found.append(_descended(layer.weight, column.unsqueeze(-1) * a, scale))
        if layer.bias is not None:
            found.append(_descended(layer.bias, column, scale))
    return found


def _sums(layer: LayerTensors) -> tuple[torch.Tensor, ...]:
    """Returns |g|^2, |a|^2, |G|^2 and g^T G a of each block, the bias column included."""
    a, g = _vectors(layer)
    matrix = layer.weight.grad.reshape(*g.shape, -1)
    # One pass over the gradient, as both are sums of its rows.
    product, squares = (matrix * a).sum(-1), matrix.square().sum(-1)
    a_sq = a.square().view(layer.blocks, -1).sum(1)
    if layer.bias is not None:
        bias = layer.bias.grad.view(g.shape)
        product, squares, a_sq = product + bias, squares + bias.square(), a_sq + 1
    g_sq, grad_sq, g_grad_a = (values.view(layer.blocks, -1).sum(1) for values in (g.square(), squares, product * g))
    return g_sq, a_sq, grad_sq, g_grad_a


def _vectors(layer: LayerTensors) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns a and g, of several blocks as batches: an axis of one would keep loops over it from being fused."""
    if layer.blocks == 1:
        return layer.a, layer.g
    return layer.a.view(layer.blocks, 1, -1), layer.g.view(layer.blocks, -1)


def _descended(moved: Moved, correction: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    parameter, grad, buffer, lr, momentum, weight_decay, _ = moved
    shape = correction.shape
    ahead = buffer.reshape(shape) * momentum + scale * (grad.reshape(shape) + correction)
    ahead = ahead + weight_decay * parameter.reshape(shape)
    return parameter.reshape(shape) - lr * ahead, ahead


def update_(layers: Sequence[LayerTensors], damping: float, kl_clip: float | None) -> None:
    """Writes what `updated` returns over parameters and buffers."""
    moved = [part for layer in layers for part in (layer.weight, layer.bias) if part is not None]
    for part, (parameter, buffer) in zip(moved, updated(layers, damping, kl_clip), strict=True):
        if part.keeps:
            _write(part.buffer, buffer)
        _write(part.parameter, parameter)


def _write(target: torch.Tensor, values: torch.Tensor) -> None:
    """Copies values in their own shape, if the target allows that: over another one loops would not be fused."""
    if target.is_contiguous():
        target.view(values.shape).copy_(values)
    else:
        target.copy_(values.view(target.shape))
