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
    total = a[0].new_zeros(())
    products = []
    for grad, bias_grad, vector, blocks in zip(grads, bias_grads, a, groups, strict=True):
        product = curvature_product(grad, bias_grad, vector, blocks).view(blocks, -1)
        damped = _squares(vector, blocks) + (float(bias_grad is not None) + damping)
        grad_sq = _squares(grad, blocks)
        if bias_grad is not None:
            grad_sq = grad_sq + _squares(bias_grad, blocks)
        # Of two nearly equal numbers the difference may round to less than what |G a| <= |G| |a| leaves of it.
        v_dot_g = torch.maximum(grad_sq - _squares(product, blocks) / damped, grad_sq * (damping / damped))
        total = total + v_dot_g.sum()
        products.append(product / damped.unsqueeze(1))
    scale = torch.where(total > 0, torch.where(total > 0, total, 1.0).rsqrt(), 1.0)
    return scale, [column.view(-1) for column in torch._foreach_mul(products, -1.0)]


def _squares(values: torch.Tensor, blocks: int) -> torch.Tensor:
    """Returns the sum of squares of each of the blocks that values lie in, one after the other."""
    norms: torch.Tensor = torch.linalg.vector_norm(values.reshape(blocks, -1), dim=1)
    return norms.square()
