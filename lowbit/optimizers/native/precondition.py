"""Preconditioning of all layers in one call of C++: precondition.cpp does what lowbit.optimizers.eva_update says."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lowbit.optimizers.factors import Factors
from lowbit.optimizers.native import library
from lowbit.optimizers.native.layout import Numbers, Table, address, plain, plain_gradient


def fits(
    grads: Sequence[torch.Tensor],
    bias_grads: Sequence[torch.Tensor | None],
    a: Sequence[torch.Tensor],
    g: Sequence[torch.Tensor],
    lrs: Sequence[float | torch.Tensor],
) -> bool:
    """Says whether all layers are of the kind that C++ takes: fp32, on the CPU, contiguous, with rates in numbers."""
    return (
        all(map(plain_gradient, grads))
        and all(bias is None or plain_gradient(bias) for bias in bias_grads)
        and all(map(plain, a))
        and all(map(plain, g))
        and not any(isinstance(lr, torch.Tensor) for lr in lrs)
        and not torch.compiler.is_compiling()
    )


def precondition(
    grads: Sequence[torch.Tensor],
    bias_grads: Sequence[torch.Tensor | None],
    a: Sequence[torch.Tensor],
    g: Sequence[torch.Tensor],
    *,
    groups: Sequence[int],
    lrs: Sequence[float],
    factors: Sequence[Factors | None],
    damping: float,
    kl_clip: float | None,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Takes and returns what eva_update.precondition does, of layers that fit, and takes factors that are known."""
    sizes = [vector.numel() for vector in g]
    flat, scale = g[0].new_empty(sum(sizes)), g[0].new_empty(())
    columns = list(torch.split(flat, sizes))
    cells: list[int] = []
    for at, rows in enumerate(sizes):
        inputs, outputs = _known(factors[at])
        if grads[at].numel() * groups[at] != rows * a[at].numel():
            raise RuntimeError(
                f"statistics of {rows} by {a[at].numel() // groups[at]} are not those of a gradient "
                f"{list(grads[at].shape)}; load a state that was saved with this model"
            )
        cells += (
            grads[at].data_ptr(), address(bias_grads[at]), a[at].data_ptr(), g[at].data_ptr(), address(inputs),
            address(outputs), columns[at].data_ptr(), rows, a[at].numel() // groups[at], groups[at],
            0 if inputs is None else inputs.shape[0],
        )  # fmt: skip
    table, rates = Table(cells), Numbers(lrs)
    library.call(
        "precondition", table.address, len(sizes), rates.address, damping, -1.0 if kl_clip is None else kl_clip,
        scale.data_ptr(), torch.get_num_threads(),
    )  # fmt: skip
    return scale, columns


def _known(known: Factors | None) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    return (None, None) if known is None or not all(map(plain, known)) else known
