"""Which tensors C++ can be given by their address, and how tables of addresses are laid out."""

from __future__ import annotations

import array
from collections.abc import Iterable, Mapping, Sequence

import torch

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_ZERO = torch.Tensor._is_zerotensor  # noqa: SLF001 - there is no public way


def plain(values: torch.Tensor) -> bool:
    """Says whether a tensor is what its address says: fp32 on the CPU, contiguous, and of no class of its own."""
    return all_plain((values,))


def plain_gradient(values: torch.Tensor) -> bool:
    """Says the same of a gradient, which autograd may leave in memory of another meaning."""
    return all_plain_gradients((values,))


def all_plain(tensors: Sequence[torch.Tensor]) -> bool:
    """Says whether all are plain, in less time than one after the other."""
    return (
        {values.dtype for values in tensors} <= {torch.float32}
        and {*map(type, tensors)} <= {*_PLAIN}
        and all(values.is_cpu for values in tensors)
        and {values.layout for values in tensors} <= {torch.strided}
        and all(map(torch.Tensor.is_contiguous, tensors))
    )


def all_plain_gradients(tensors: Sequence[torch.Tensor]) -> bool:
    """Says whether all are plain, and mean what lies in memory."""
    return all_plain(tensors) and not any(map(torch.Tensor.is_neg, tensors)) and not any(map(_ZERO, tensors))


def address(values: torch.Tensor | None) -> int:
    """Returns where the elements of a tensor begin, 0 for none."""
    return 0 if values is None else values.data_ptr()


class Table:
    """Whole numbers of 8 bytes, as an array that C++ reads."""

    def __init__(self, cells: Sequence[int]) -> None:
        self._cells = array.array("q", cells)
        # It stays there while the table lives.
        self.address = self._cells.buffer_info()[0]

    def fill(self, width: int, columns: Mapping[int, Sequence[int]]) -> None:
        """Gives the rows, each of `width` cells, other values in some columns."""
        for column, values in columns.items():
            self._cells[column::width] = array.array("q", values)


class Numbers:
    """Numbers of double precision, as an array that C++ reads."""

    def __init__(self, values: Iterable[float]) -> None:
        self._values = array.array("d", values)
        self.address = self._values.buffer_info()[0]
