"""Momentum that is kept as block-wise 8-bit codes between steps: which tensors, in which portions, in and out.

A step works on momentum in full precision; only what is kept for the next step is quantized.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch

from lowbit.optimizers import blockwise

# As in bitsandbytes and torchao: below this a tensor is cheaper to keep than to encode.
SMALLEST = 4096
# Elements whose momentum is in full precision at one time. Pieces of a few MB stay in the caches and in memory that
# the process has already; all at once, the buffers of a model would go back to the system in each step.
PORTION = 1 << 20

State = dict[str, torch.Tensor]


class Work(NamedTuple):
    """Momentum in full precision: a buffer for each parameter, and where the decoded ones among them lie.

    `encoded` are the places of the parameters that have codes, `packed` is fp32 [blocks, block]. Buffers of fp32
    parameters are views of it.
    """

    buffers: list[torch.Tensor]
    encoded: list[int]
    layout: blockwise.Layout
    packed: torch.Tensor | None


def encodes(parameter: torch.Tensor) -> bool:
    """Says whether the momentum of a parameter is kept in 8 bits."""
    return parameter.numel() >= SMALLEST


def portions(parameters: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Splits parameters, in their order, into those of at most PORTION elements together, or of one tensor."""
    portion: list[torch.Tensor] = []
    size = 0
    for parameter in parameters:
        if portion and size + parameter.numel() > PORTION:
            yield portion
            portion, size = [], 0
        portion.append(parameter)
        size += parameter.numel()
    if portion:
        yield portion


def load(states: Sequence[State], parameters: Sequence[torch.Tensor]) -> Work:
    """Returns the momentum of parameters, to be updated in place and given to `store`; zeros for a first step."""
    encoded = [place for place, parameter in enumerate(parameters) if encodes(parameter)]
    for place in encoded:
        if "momentum_codes" not in states[place]:
            _start(states[place], parameters[place])
    buffers: dict[int, torch.Tensor] = {}
    layout, packed = blockwise.Layout(()), None
    if encoded:
        layout, packed = blockwise.decode(
            [states[place]["momentum_codes"] for place in encoded],
            [states[place]["momentum_scales"] for place in encoded],
        )
        for place, part in zip(encoded, layout.parts(packed), strict=True):
            parameter = parameters[place]
            buffers[place] = part.view(parameter.shape).to(parameter.dtype)
    for place, parameter in enumerate(parameters):
        if place not in buffers:
            if "momentum_buffer" not in states[place]:
                states[place]["momentum_buffer"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
            buffers[place] = states[place]["momentum_buffer"]
    return Work([buffers[place] for place in range(len(parameters))], encoded, layout, packed)


def store(states: Sequence[State], work: Work) -> None:
    """Keeps updated momentum: that of large parameters in codes."""
    if work.packed is None:
        return
    buffers = [work.buffers[place] for place in work.encoded]
    if buffers[0].dtype != work.packed.dtype:
        # Buffers of another dtype are copies of what was decoded.
        torch._foreach_copy_(work.layout.parts(work.packed), [buffer.view(-1) for buffer in buffers])
    codes, scales = blockwise.encode_packed(work.layout, work.packed)
    for place, code, scale in zip(work.encoded, codes, scales, strict=True):
        states[place]["momentum_codes"], states[place]["momentum_scales"] = code, scale


def _start(state: State, parameter: torch.Tensor) -> None:
    """Gives a parameter codes that decode to zeros."""
    size = parameter.numel()
    zero = blockwise.dynamic_map().index(0.0)
    state["momentum_codes"] = parameter.new_full((size,), zero, dtype=torch.uint8)
    state["momentum_scales"] = parameter.new_zeros(-(-size // blockwise.BLOCK), dtype=torch.float32)
