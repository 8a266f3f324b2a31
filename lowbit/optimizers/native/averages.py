"""Running averages of many vectors that are kept in codes, in one call of blockwise.cpp: decoded, averaged, encoded."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lowbit.optimizers import blockwise
from lowbit.optimizers.native import library
from lowbit.optimizers.native.layout import Table, all_plain

_CPU = torch.device("cpu")
# Cells of a vector, as blockwise.cpp reads them; the first is where its average comes to be.
CELLS = 4


class Averages:
    """Averages vectors; what a call needs is laid out once for steps that are alike."""

    def __init__(self) -> None:
        # Codes and scales, which stay where they are while they are held, and what they and the vectors are.
        self._kept: list[torch.Tensor] = []
        self._of: list[int] = []
        self._sizes: list[int] = []
        self._table = Table(())

    def __call__(
        self,
        codes: Sequence[torch.Tensor],
        scales: Sequence[torch.Tensor],
        fresh: Sequence[torch.Tensor],
        decay: float,
        *,
        keeps: bool,
    ) -> list[torch.Tensor] | None:
        """Returns the running averages of vectors that are kept in codes; `keeps` writes them there, in place.

        Returns None for vectors that C++ does not take, and raises RuntimeError for those of other sizes than what is
        kept of them.
        """
        if not all_plain(fresh):
            return None
        kept = [*codes, *scales]
        of = [*map(id, kept), *map(torch.Tensor.data_ptr, kept), *map(torch.Tensor.numel, (*kept, *fresh))]
        if of != self._of:
            if not all_plain(scales):
                return None
            self._sizes, self._table = _laid_out(codes, scales, fresh)
            self._kept, self._of = kept, of
        found = torch.split(torch.empty(sum(self._sizes)), self._sizes)
        self._table.fill(CELLS, {0: list(map(torch.Tensor.data_ptr, found))})
        given = Table(list(map(torch.Tensor.data_ptr, fresh)))
        library.call(
            "average", self._table.address, given.address, len(fresh), decay, blockwise.BLOCK,
            blockwise.decoding(_CPU).data_ptr(), blockwise.encoding(_CPU).data_ptr() if keeps else None,
        )  # fmt: skip
        return list(found)


def _laid_out(
    codes: Sequence[torch.Tensor], scales: Sequence[torch.Tensor], fresh: Sequence[torch.Tensor]
) -> tuple[list[int], Table]:
    sizes = [vector.numel() for vector in fresh]
    blocks = list(blockwise.Layout(tuple(sizes)).blocks)
    whole = all(code.dtype is torch.uint8 and code.is_cpu and code.is_contiguous() for code in codes)
    # C++ takes sizes on trust, and state can be loaded from anywhere.
    if not whole or [code.numel() for code in codes] != sizes or [scale.numel() for scale in scales] != blocks:
        raise RuntimeError(
            "statistics are not those of the model's layers; load a state that was saved with this model"
        )
    cells: list[int] = []
    for size, code, scale in zip(sizes, codes, scales, strict=True):
        cells += (0, code.data_ptr(), scale.data_ptr(), size)
    return sizes, Table(cells)
