"""Eva-f's mathematics as a pure function of tensors: FOOF with the mean input in place of its covariance.

Source: `kfac/semi_eva.py` of the authors of Eva (github.com/lzhangbv/eva, commit b95b3d2), which they call half of the
Kronecker vectors; FOOF is Benzing (ICML 2022, arXiv 2201.12250). Notation as in eva_update: G is a layer's gradient as
a matrix [out, in] with the bias gradient as one more column, a its mean input with 1 appended for the bias, gamma the
damping. The curvature a a^T + gamma I is that of a layer's inputs alone, so by Sherman and Morrison, but for 1 / gamma,

    V = G - (G a) a^T / (|a|^2 + gamma),

and the V of all layers together are divided by sqrt(sum <V, G>). Dividing each V by gamma too, which the source leaves
open, would after that be a factor gamma^-1/2 of the learning rate.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lowbit.optimizers.eva_update import curvature_product


def precondition(
    grads: Sequence[torch.Tensor],
    bias_grads: Sequence[torch.Tensor | None],
    a: Sequence[torch.Tensor],
    *,
    groups: Sequence[int],
    damping: float,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Preconditions the gradients of all layers and normalizes them together; see the module's equations.

    Each sequence has an entry for each layer: weight gradients of any shape [out, ...], bias gradients [out] or None,
    vectors a [groups * in], and numbers of curvature blocks. Returns the scale, which is one for all layers, and each
    layer's column [out], in V / sqrt(sum <V, G>) = scale (G + column a^T). Where all gradients are zero the scale is 1.

    V is never formed: <V, G> = |G|^2 - |G a|^2 / (|a|^2 + gamma).
    """
    layers = list(zip(grads, bias_grads, a, groups, strict=True))
    products = [curvature_product(*layer).view(layer[-1], -1) for layer in layers]
    # All norms of all curvature blocks in one call: of G, of a, of G a, and of the bias column and its 1 in a.
    nothing, one = a[0].new_zeros(1), a[0].new_ones(1)
    rows: list[torch.Tensor] = []
    for values in (grads, a, products):
        rows += [row for value, n in zip(values, groups, strict=True) for row in value.reshape(n, -1).unbind()]
    for bias, n in zip(bias_grads, groups, strict=True):
        rows += [nothing] * n if bias is None else bias.view(n, -1).unbind()
    rows += [nothing if bias is None else one for bias, n in zip(bias_grads, groups, strict=True) for _ in range(n)]
    grad_sq, a_sq, product_sq, bias_sq, ones = torch.stack(torch._foreach_norm(rows)).square_().view(5, -1)
    grad_sq, damped = grad_sq + bias_sq, a_sq + ones + damping
    # Of two nearly equal numbers the difference may round to less than what |G a| <= |G| |a| leaves of it.
    total = torch.maximum(grad_sq - product_sq / damped, grad_sq * (damping / damped)).sum()
    scale = torch.where(total > 0, torch.where(total > 0, total, 1.0).rsqrt(), 1.0)
    factors = [part.unsqueeze(1) for part in torch.split(-1 / damped, list(groups))]
    return scale, [column.view(-1) for column in torch._foreach_mul(products, factors)]
