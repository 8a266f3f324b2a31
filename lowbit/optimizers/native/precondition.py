"""Preconditioning of all layers in one call of C++: precondition.cpp does what lowbit.optimizers.eva_update says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch

from lowbit.optimizers.factors import Factors
from lowbit.optimizers.native import library
from lowbit.optimizers.native.layout import Numbers, Table, address, all_plain, plain, plain_gradient

# Cells of a layer, as precondition.cpp reads them.
CELLS = 11


class Rows(NamedTuple):
    """|row|^2 and row . a of the rows of a gradient, [rows, 2], for the a that was expected when they were taken."""

    a: torch.Tensor
    sums: torch.Tensor


def rows_of(grad: torch.Tensor, a: torch.Tensor, rows: int) -> Rows | None:
    """Returns what `Preconditioner` needs of a gradient, [rows, ...], None where C++ does not take it.

    It takes less time while the gradient is still in a cache. `a` are the mean inputs of the curvature blocks, one
    after the other.
    """
    columns = grad.numel() // rows
    if not plain_gradient(grad) or not plain(a) or a.numel() % columns or rows % (groups := a.numel() // columns):
        return None
    sums = torch.empty(rows, 2)
    library.call("rows", grad.data_ptr(), a.data_ptr(), rows, columns, groups, torch.get_num_threads(), sums.data_ptr())
    return Rows(a, sums)


class Columns(NamedTuple):
    """The columns of all layers, one after the other, and where each begins in memory."""

    flat: torch.Tensor
    addresses: list[int]


class Preconditioner:
    """Takes what eva_update.precondition does; what a call needs is laid out once for steps that are alike."""

    def __init__(self) -> None:
        # The sizes of what is given, the table for them, and the bytes before each column.
        self._sizes: list[int] = []
        self._table = Table(())
        self._before: list[int] = []

    def __call__(
        self,
        grads: Sequence[torch.Tensor],
        bias_grads: Sequence[torch.Tensor | None],
        a: Sequence[torch.Tensor],
        g: Sequence[torch.Tensor],
        *,
        groups: Sequence[int],
        lrs: Sequence[float],
        known: Sequence[Factors | Rows | None],
        damping: float,
        kl_clip: float | None,
    ) -> tuple[torch.Tensor, Columns]:
        """Returns the scale and the columns of layers that are all plain.

        Of what is known of a gradient some rows are compared, and it is read where they differ. Raises RuntimeError for
        vectors that are not those of their gradient.
        """
        sizes = [*groups, *(map(torch.Tensor.numel, (*grads, *a, *g)))]
        if sizes != self._sizes:
            self._lay_out(grads, a, g, groups)
            self._sizes = sizes
        flat, scale = torch.empty(self._before[-1] // torch.float32.itemsize), torch.empty(())
        beginning = flat.data_ptr()
        columns = Columns(flat, [beginning + before for before in self._before[:-1]])
        inputs, outputs, samples = _told(known, a, g)
        self._table.fill(CELLS, {
            0: list(map(address, grads)), 1: list(map(address, bias_grads)), 2: list(map(address, a)),
            3: list(map(address, g)),
            4: inputs, 5: outputs, 6: columns.addresses, 10: samples,
        })  # fmt: skip
        rates = Numbers(lrs)
        library.call(
            "precondition", self._table.address, len(grads), rates.address, damping,
            -1.0 if kl_clip is None else kl_clip, scale.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return scale, columns

    def _lay_out(
        self, grads: Sequence[torch.Tensor], a: Sequence[torch.Tensor], g: Sequence[torch.Tensor], groups: Sequence[int]
    ) -> None:
        cells: list[int] = []
        for grad, mean_input, mean_gradient, blocks in zip(grads, a, g, groups, strict=True):
            rows, columns = mean_gradient.numel(), mean_input.numel() // blocks
            if grad.numel() * blocks != rows * mean_input.numel():
                raise RuntimeError(
                    f"statistics of {rows} by {columns} are not those of a gradient {list(grad.shape)}; load a state "
                    "that was saved with this model"
                )
            cells += (0, 0, 0, 0, 0, 0, 0, rows, columns, blocks, 0)
        self._table = Table(cells)
        self._before = [0, *accumulate(vector.numel() * vector.itemsize for vector in g)]


def _told(
    known: Sequence[Factors | Rows | None], a: Sequence[torch.Tensor], g: Sequence[torch.Tensor]
) -> tuple[list[int], list[int], list[int]]:
    """Returns the addresses of both parts of what is known, and of how many samples factors are, 0 for rows."""
    inputs, outputs, samples = ([0] * len(known) for _ in range(3))
    for at, each in enumerate(known):
        if each is None or not all_plain(each):
            continue
        if isinstance(each, Factors):
            fit = len(each.inputs) > 0
            samples[at] = len(each.inputs)
        else:
            fit = each.a.numel() == a[at].numel() and len(each.sums) == g[at].numel()
        if fit:
            inputs[at], outputs[at] = each[0].data_ptr(), each[1].data_ptr()
    return inputs, outputs, samples
