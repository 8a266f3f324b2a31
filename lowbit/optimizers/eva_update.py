"""Eva's mathematics as pure functions of tensors.

Source: Zhang et al. (ICLR 2023, arXiv 2308.02123), section 3 and algorithm 1; the KL clip is that of KAISA and of the
authors' code. Notation: G is a layer's weight gradient as a matrix [out, in] with the bias gradient as one more column,
a its mean input with 1 appended for the bias, g its mean output gradient, gamma the damping. The curvature is
C = (a a^T) kron (g g^T) + gamma I, of rank one but for the damping, so by Sherman and Morrison

    V = C^-1 G = (G - beta g a^T) / gamma,    beta = g^T G a / (|a|^2 |g|^2 + gamma).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

import torch

from lowbit.optimizers.graph_capture import held


class Scalars(NamedTuple):
    """One number for each curvature block, [blocks]: what V needs, and what the KL clip needs of V."""

    beta: torch.Tensor
    v_dot_g: torch.Tensor
    v_dot_v: torch.Tensor


def scalars(
    g_sq: torch.Tensor, a_sq: torch.Tensor, grad_sq: torch.Tensor, g_grad_a: torch.Tensor, damping: float
) -> Scalars:
    """Returns beta, <V, G> and <V, V> from |g|^2, |a|^2, |G|^2 and g^T G a, without forming V.

    From the definition of V: <V, G> = (|G|^2 - beta g^T G a) / gamma and
    <V, V> = (|G|^2 - 2 beta g^T G a + beta^2 |a|^2 |g|^2) / gamma^2.
    """
    beta = g_grad_a / (a_sq * g_sq + damping)
    v_dot_g = (grad_sq - beta * g_grad_a) / damping
    v_dot_v = (grad_sq - 2 * beta * g_grad_a + beta.square() * a_sq * g_sq) / damping**2
    return Scalars(beta, v_dot_g, v_dot_v)


def clip_factor(
    v_dot_g_lr_sq: torch.Tensor, v_dot_v: torch.Tensor, grad_sq: torch.Tensor, kl_clip: float | None
) -> torch.Tensor:
    """Returns nu, the factor of all preconditioned gradients, as a tensor of no dimensions.

    `v_dot_g_lr_sq` is s = sum lr^2 <V, G>. With kl_clip > 0: nu = min(1, sqrt(kl_clip / s)), 1 where s <= 0. With
    kl_clip = 0 the preconditioned gradient gets the norm of the gradient: nu = sqrt(sum |G|^2 / sum |V|^2). With a
    negative one or None: nu = 1. The value stays on the device.
    """
    if kl_clip is None or kl_clip < 0:
        return torch.ones_like(v_dot_g_lr_sq)
    if kl_clip == 0:
        total, norm = grad_sq.sum(), v_dot_v.sum()
        return torch.where(norm > 0, (total / norm).sqrt(), 1.0)
    # s <= 0 has no root; what `where` discards must not be NaN either, or anomaly detection would stop on it.
    positive = v_dot_g_lr_sq > 0
    root = (kl_clip / torch.where(positive, v_dot_g_lr_sq, 1.0)).sqrt()
    return torch.where(positive, root.clamp(max=1.0), 1.0)


def curvature_product(grad: torch.Tensor, bias_grad: torch.Tensor | None, a: torch.Tensor, groups: int) -> torch.Tensor:
    """Returns G a, [out], for a weight gradient of any shape; the bias column enters as a sum.

    With `groups` > 1 (a grouped convolution) each group is a block of its own, with its part of a.
    """
    if groups == 1:
        matrix = grad.reshape(grad.shape[0], -1)
        return matrix.mv(a) if bias_grad is None else torch.addmv(bias_grad, matrix, a)
    blocks = grad.reshape(groups, grad.shape[0] // groups, -1)
    product = torch.bmm(blocks, a.view(groups, -1, 1)).view(-1)
    return product if bias_grad is None else product + bias_grad


def _constant(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Keeps small constants on the device: made afresh in each step they would be copied in each step."""
    return held(_made(values, dtype, device))


@functools.lru_cache(maxsize=64)
def _made(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def precondition(
    grads: Sequence[torch.Tensor],
    bias_grads: Sequence[torch.Tensor | None],
    a: Sequence[torch.Tensor],
    g: Sequence[torch.Tensor],
    *,
    groups: Sequence[int],
    lrs: Sequence[float | torch.Tensor],
    damping: float,
    kl_clip: float | None,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Preconditions the gradients of all layers at once and clips them together; see the module's equations.

    Each sequence has an entry for each layer: weight gradients of any shape [out, ...], bias gradients [out] or None,
    vectors a [groups * in] and g [out], numbers of curvature blocks, and learning rates.
    Returns the scale, which is one for all layers, and each layer's column [out], in nu V = scale (G + column a^T).
    """
    device, dtype = g[0].device, g[0].dtype
    outputs = tuple(v.numel() // n for v, n in zip(g, groups, strict=True) for _ in range(n))
    inputs = tuple(v.numel() // n for v, n in zip(a, groups, strict=True) for _ in range(n))
    ones = tuple(float(b is not None) for b, n in zip(bias_grads, groups, strict=True) for _ in range(n))
    out_lengths, in_lengths = (_constant(lengths, torch.int64, device) for lengths in (outputs, inputs))
    a_flat, g_flat = torch.cat(list(a)), torch.cat(list(g))
    a_sq = _sums(a_flat.square(), in_lengths) + _constant(ones, dtype, device)
    g_sq = _sums(g_flat.square(), out_lengths)
    grad_sq = _block_squares(grads, bias_grads, groups, dtype)
    g_grad_a = torch.cat([_product(*layer) for layer in zip(grads, bias_grads, a, g, groups, strict=True)])
    block = scalars(g_sq, a_sq, grad_sq, g_grad_a, damping)
    scale = clip_factor(_weighted(block.v_dot_g, lrs, groups), block.v_dot_v, grad_sq, kl_clip) / damping
    # The total is known here; left to find it out, repeat_interleave would ask the device.
    columns = g_flat * torch.repeat_interleave(-block.beta, out_lengths, output_size=g_flat.numel())
    return scale, list(torch.split(columns, [v.numel() for v in g]))


def _weighted(v_dot_g: torch.Tensor, lrs: Sequence[float | torch.Tensor], groups: Sequence[int]) -> torch.Tensor:
    """Returns sum lr^2 <V, G> over all blocks; rates that are tensors stay on their device."""
    keys = [id(lr) if isinstance(lr, torch.Tensor) else lr for lr in lrs]
    distinct = dict(zip(keys, lrs, strict=True))
    if len(distinct) == 1:
        return v_dot_g.sum() * lrs[0] ** 2
    device, dtype = v_dot_g.device, v_dot_g.dtype
    numbers = [lr for lr in lrs if not isinstance(lr, torch.Tensor)]
    if len(numbers) == len(lrs):
        squares = tuple(lr**2 for lr, n in zip(numbers, groups, strict=True) for _ in range(n))
        return torch.dot(v_dot_g, _constant(squares, dtype, device))
    each = [lr if isinstance(lr, torch.Tensor) else _constant((lr,), dtype, device) for lr in distinct.values()]
    at = {key: index for index, key in enumerate(distinct)}
    of = tuple(at[key] for key, n in zip(keys, groups, strict=True) for _ in range(n))
    rates = torch.cat([lr.to(device, dtype).view(1) for lr in each])[_constant(of, torch.int64, device)]
    return torch.dot(v_dot_g, rates.square())


def _sums(values: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    return torch.segment_reduce(values, "sum", lengths=lengths, unsafe=True)


def _product(
    grad: torch.Tensor, bias_grad: torch.Tensor | None, a: torch.Tensor, g: torch.Tensor, groups: int
) -> torch.Tensor:
    """Returns g^T G a, [groups]."""
    product = curvature_product(grad, bias_grad, a, groups)
    if groups == 1:
        return torch.dot(product, g).view(1)
    return (product * g).view(groups, -1).sum(1)


def _block_squares(
    grads: Sequence[torch.Tensor], bias_grads: Sequence[torch.Tensor | None], groups: Sequence[int], dtype: torch.dtype
) -> torch.Tensor:
    """Returns |G|^2 of each curvature block, the bias column included."""
    tensors = [part for pair in zip(grads, bias_grads, strict=True) for part in pair if part is not None]
    if all(n == 1 for n in groups):
        squares = torch.stack(torch._foreach_norm(tensors)).to(dtype).square_()
    else:
        numbers = [
            n
            for n, pair in zip(groups, zip(grads, bias_grads, strict=True), strict=True)
            for p in pair
            if p is not None
        ]
        rows = [t.reshape(n, -1).to(dtype).square().sum(1) for t, n in zip(tensors, numbers, strict=True)]
        squares = torch.cat(rows)
    owners: list[int] = []
    first = 0
    for bias, n in zip(bias_grads, groups, strict=True):
        blocks = list(range(first, first + n))
        owners += blocks if bias is None else blocks * 2
        first += n
    if len(owners) == first:
        return squares
    index = _constant(tuple(owners), torch.int64, squares.device)
    return squares.new_zeros(first).index_add_(0, index, squares)


def average_(old: Sequence[torch.Tensor], new: Sequence[torch.Tensor], decay: float) -> None:
    """Turns old values into running averages, (1 - decay) old + decay new, in place.

    The weight is on the *new* value, as in the authors' code: with the default of 0.95 the past fades quickly.
    """
    torch._foreach_lerp_(list(old), list(new), decay)
