"""Coding of many vectors in one call of C++: blockwise.cpp gives what lowbit.optimizers.blockwise does."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lowbit.optimizers import blockwise
from lowbit.optimizers.native import library
from lowbit.optimizers.native.layout import Table, plain


def encode(tensors: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Takes and returns what blockwise.encode does; vectors that are not plain are left to it."""
    if not all(map(plain, tensors)):
        return blockwise.encode(tensors)
    layout = blockwise.Layout(tuple(tensor.numel() for tensor in tensors))
    codes = torch.empty(sum(layout.sizes), dtype=torch.uint8).split(list(layout.sizes))
    scales = torch.empty(sum(layout.blocks)).split(list(layout.blocks))
    _call("encode", tensors, codes, scales, blockwise.encoding(tensors[0].device))
    return list(codes), list(scales)


def decode(codes: Sequence[torch.Tensor], scales: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Takes and returns what blockwise.decode does; codes that are not on the CPU are left to it."""
    if not all(map(plain, scales)):
        return blockwise.decode(codes, scales)
    vectors = torch.empty(sum(sizes := [code.numel() for code in codes])).split(sizes)
    _call("decode", vectors, codes, scales, blockwise.decoding(scales[0].device))
    return list(vectors)


def _call(
    name: str,
    values: Sequence[torch.Tensor],
    codes: Sequence[torch.Tensor],
    scales: Sequence[torch.Tensor],
    table: torch.Tensor,
) -> None:
    cells: list[int] = []
    for value, code, scale in zip(values, codes, scales, strict=True):
        cells += (value.data_ptr(), code.data_ptr(), scale.data_ptr(), value.numel())
    vectors = Table(cells)
    library.call(name, vectors.address, len(codes), blockwise.BLOCK, table.data_ptr())
