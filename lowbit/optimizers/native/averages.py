"""Running averages of many vectors that are kept in codes, in one call of blockwise.cpp: decoded, averaged, encoded."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lowbit.optimizers import blockwise
from lowbit.optimizers.native import library
from lowbit.optimizers.native.layout import Table, plain

_CPU = torch.device("cpu")


def fits(fresh: Sequence[torch.Tensor], scales: Sequence[torch.Tensor]) -> bool:
    """Says whether vectors and what is kept of them are of the kind that C++ takes."""
    return all(map(plain, fresh)) and all(map(plain, scales))


def average(
    codes: Sequence[torch.Tensor],
    scales: Sequence[torch.Tensor],
    fresh: Sequence[torch.Tensor],
    decay: float,
    *,
    keeps: bool,
) -> list[torch.Tensor]:
    """Returns the running averages of vectors that are kept in codes; `keeps` writes them there, in place."""
    sizes = [vector.numel() for vector in fresh]
    blocks = list(blockwise.Layout(tuple(sizes)).blocks)
    whole = all(code.dtype is torch.uint8 and code.is_cpu and code.is_contiguous() for code in codes)
    # C++ takes sizes on trust, and state can be loaded from anywhere.
    if not whole or [code.numel() for code in codes] != sizes or [scale.numel() for scale in scales] != blocks:
        raise RuntimeError(
            "statistics are not those of the model's layers; load a state that was saved with this model"
        )
    found = list(torch.split(torch.empty(sum(sizes)), sizes))
    cells: list[int] = []
    for size, values, code, scale in zip(sizes, found, codes, scales, strict=True):
        cells += (values.data_ptr(), code.data_ptr(), scale.data_ptr(), size)
    vectors, given = Table(cells), Table([vector.data_ptr() for vector in fresh])
    library.call(
        "average", vectors.address, given.address, len(fresh), decay, blockwise.BLOCK,
        blockwise.decoding(_CPU).data_ptr(), blockwise.encoding(_CPU).data_ptr() if keeps else None,
    )  # fmt: skip
    return found
