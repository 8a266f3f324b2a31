"""Block-wise 8-bit codes of fp32 values: a signed dynamic map and one fp32 scale per block.

Source: Dettmers et al., "8-bit Optimizers via Block-wise Quantization" (arXiv 2110.02861), sections 2.1 (block-wise
quantization) and 1.3 (dynamic tree quantization).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

# 256 is what bitsandbytes (since 0.44) and torchao use: 1.6 % of scales for errors of about 1 %.
BLOCK = 256
DECADES = 7
# The smallest normal number: below it a reciprocal overflows.
SMALLEST_SCALE = torch.finfo(torch.float32).tiny


@functools.cache
def dynamic_map() -> tuple[float, ...]:
    """Returns the 256 values of the signed dynamic map, ascending.

    For i = 0..6 these are the midpoints of 2**i equal parts of [0.1, 1] times 10**(i - 6), with both signs, and 0 and
    1. There is no -1: the smallest value is -0.99296875.
    """
    values = [0.0, 1.0]
    for decade in range(DECADES):
        parts = 2**decade
        for part in range(parts):
            magnitude = (0.1 + 0.9 * (part + 0.5) / parts) * 10.0 ** (decade - DECADES + 1)
            values += [magnitude, -magnitude]
    return tuple(sorted(values))


@functools.cache
def _decoding_pairs(device: torch.device) -> torch.Tensor:
    """Maps two codes, read as one 16-bit number, to two fp32 values, written as one 64-bit number.

    Half as many gathers, and of a width that the CPU kernel moves four times as fast as floats. The table takes
    512 KiB, once on a device; it is no part of any optimizer's state.
    """
    table = decoding(device)
    pairs = torch.stack([table.repeat(256), table.repeat_interleave(256)], dim=1)
    return pairs.contiguous().view(torch.int64).view(-1)


@functools.cache
def decoding(device: torch.device) -> torch.Tensor:
    """Maps a code to its fp32 value."""
    return torch.tensor(dynamic_map(), dtype=torch.float32).to(device)


@functools.cache
def encoding(device: torch.device) -> torch.Tensor:
    """Maps the 65,536 half-precision numbers, by their bits, to the code of the nearest value of the map."""
    table = torch.tensor(dynamic_map(), dtype=torch.float64)
    halves = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    # What is not a number goes to the top code, whose value is 1: times a scale that is not finite it stays so.
    codes = torch.bucketize(halves.to(torch.float64), (table[1:] + table[:-1]) / 2)
    return codes.to(torch.uint8).to(device)


def quantize(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Encodes blocks: returns uint8 codes of the same shape and one fp32 scale per block.

    `values` is fp32 [blocks, block]. The scale is the block's largest magnitude (arXiv 2110.02861, equation 4); the
    code is that of the nearest value of the map to the scaled element in half precision, which moves the boundary
    between two codes by at most 2**-11 of an element's size. No scale is below the smallest normal number; a block of
    zeros decodes to zeros; one that holds a value that is not finite has a scale that is not finite, and decodes to
    such values.
    """
    scales = torch.maximum(values.amax(1), -values.amin(1))  # several times faster than the infinity norm
    scales.clamp_(min=SMALLEST_SCALE)
    halves = (values * scales.reciprocal().unsqueeze(1)).to(torch.float16)
    index = halves.view(torch.int16).to(torch.int32).add_(2**15)
    codes = torch.index_select(encoding(values.device), 0, index.view(-1))
    return codes.view(values.shape), scales


def dequantize(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """Decodes blocks: returns fp32 of the shape of `codes`, uint8 [blocks, block] with an even block."""
    index = codes.view(-1).view(torch.int16).to(torch.int32).bitwise_and_(0xFFFF)
    values = torch.index_select(_decoding_pairs(codes.device), 0, index).view(torch.float32)
    return values.view(codes.shape).mul_(scales.unsqueeze(1))


class Coder(Protocol):
    """What codes vectors: this module, or the one in C++."""

    def encode(self, tensors: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """See `encode`."""
        ...

    def decode(self, codes: Sequence[torch.Tensor], scales: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """See `decode`."""
        ...


@dataclass(frozen=True)
class Layout:
    """Where tensors of given sizes lie in one buffer in which no block holds parts of two of them."""

    sizes: tuple[int, ...]
    block: int = BLOCK

    @property
    def blocks(self) -> tuple[int, ...]:
        """Number of blocks of each tensor."""
        return tuple(-(-size // self.block) for size in self.sizes)

    def parts(self, buffer: torch.Tensor) -> list[torch.Tensor]:
        """Returns a view of each tensor's elements in a buffer of shape [blocks, block]."""
        rows = torch.split(buffer, list(self.blocks))
        return [part.view(-1)[:size] for part, size in zip(rows, self.sizes, strict=True)]

    def pack(self, tensors: Sequence[torch.Tensor], like: torch.Tensor, padding: int = 0) -> torch.Tensor:
        """Returns tensors of any shape in one padded buffer of the dtype and device of `like`."""
        buffer = like.new_full((sum(self.blocks), self.block), padding)
        torch._foreach_copy_(self.parts(buffer), [tensor.reshape(-1) for tensor in tensors])
        return buffer


def encode(tensors: Sequence[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Encodes tensors with a number of operations that does not depend on how many there are.

    Returns for each its codes, uint8 of its own size, and its scales, fp32 with one for each started block; both are
    slices of one storage each.
    """
    layout = Layout(tuple(tensor.numel() for tensor in tensors))
    padded, scales = quantize(layout.pack(tensors, tensors[0].new_empty(0, dtype=torch.float32)))
    # Codes are kept without the padding: the vectors of small layers are shorter than a block.
    kept = list(torch.split(padded.new_empty(sum(layout.sizes)), list(layout.sizes)))
    torch._foreach_copy_(kept, layout.parts(padded))
    return kept, list(torch.split(scales, list(layout.blocks)))


def decode(codes: Sequence[torch.Tensor], scales: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Decodes what `encode` gave: returns fp32 vectors, views of one buffer."""
    layout = Layout(tuple(code.numel() for code in codes))
    return layout.parts(dequantize(layout.pack(codes, codes[0], dynamic_map().index(0.0)), torch.cat(list(scales))))
