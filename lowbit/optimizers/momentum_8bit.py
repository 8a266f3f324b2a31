"""Momentum that is kept as block-wise 8-bit codes between steps: which tensors, in which portions, in and out.

A step works on momentum in full precision; only what is kept for the next step is quantized.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch

from lowbit.optimizers import square_map
from lowbit.optimizers.descent import momentum_buffer
from lowbit.optimizers.direction import Direction
from lowbit.optimizers.hyperparameters import Rates
from lowbit.optimizers.native import descent as native

# As in bitsandbytes and torchao: below this a tensor is cheaper to keep than to encode.
SMALLEST = 4096
# Elements whose momentum is in full precision at one time: smaller portions stay in nearer caches, but the calls of
# their many operations then take longer than what is saved. With all that coding them takes it is 3 MB.
PORTION = 3 << 17
KEYS = frozenset({"momentum_buffer", "momentum_codes", "momentum_scales"})

State = dict[str, torch.Tensor]


class Piece(NamedTuple):
    """A parameter or some of its rows, with what belongs to them."""

    parameter: torch.Tensor
    grad: torch.Tensor
    state: State
    direction: Direction | None = None


class Packed(NamedTuple):
    """Decoded momentum of parameters with blocks of one length: their places, and fp32 [blocks, block]."""

    places: list[int]
    values: torch.Tensor


class Work(NamedTuple):
    """Momentum in full precision: a buffer for each parameter; those of fp32 parameters with codes are views."""

    buffers: list[torch.Tensor]
    packed: list[Packed]


def encodes(parameter: torch.Tensor) -> bool:
    """Says whether the momentum of a parameter is kept in 8 bits."""
    return parameter.numel() >= SMALLEST


def portions(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Splits what is to be updated, in its order, into lists of at most PORTION elements, or of one row."""
    portion: list[Piece] = []
    size = 0
    for whole in pieces:
        for piece in _rows(whole):
            if portion and size + piece.parameter.numel() > PORTION:
                yield portion
                portion, size = [], 0
            portion.append(piece)
            size += piece.parameter.numel()
    if portion:
        yield portion


def _rows(whole: Piece) -> Sequence[Piece]:
    """Takes a large parameter apart by rows, where its blocks and its gradient allow it."""
    parameter, grad, state, direction = whole
    if (
        parameter.numel() <= PORTION
        or not encodes(parameter)
        or not (parameter.is_contiguous() and grad.is_contiguous())
        or (direction is not None and direction.groups != 1)
    ):
        return [whole]
    start(state, parameter)
    codes, scales = state["momentum_codes"], state["momentum_scales"]
    row = parameter[0].numel()
    if row % codes.shape[1]:
        return [whole]
    rows, each = max(1, PORTION // row), row // codes.shape[1]
    pieces = []
    for first in range(0, len(parameter), rows):
        last = min(first + rows, len(parameter))
        own = {
            "momentum_codes": codes[first * each : last * each],
            "momentum_scales": scales[first * each : last * each],
        }
        part = None if direction is None else direction._replace(column=direction.column[first:last])
        pieces.append(Piece(parameter[first:last], grad[first:last], own, part))
    return pieces


def load(states: Sequence[State], parameters: Sequence[torch.Tensor]) -> Work:
    """Returns the momentum of parameters, to be updated in place and given to `store`; zeros for a first step."""
    buffers: dict[int, torch.Tensor] = {}
    by_block: dict[int, list[int]] = {}
    for place, (state, parameter) in enumerate(zip(states, parameters, strict=True)):
        if "momentum_codes" in state or encodes(parameter):
            start(state, parameter)
            by_block.setdefault(state["momentum_codes"].shape[1], []).append(place)
            continue
        buffers[place] = momentum_buffer(state, parameter)
    packed = []
    for places in by_block.values():
        values = square_map.dequantize(
            _joined([states[place]["momentum_codes"] for place in places]),
            _joined([states[place]["momentum_scales"] for place in places]),
        )
        packed.append(Packed(places, values))
        for place, part in zip(places, _parts(values, places, states), strict=True):
            parameter = parameters[place]
            buffers[place] = part.view(-1)[: parameter.numel()].view(parameter.shape).to(parameter.dtype)
    return Work([buffers[place] for place in range(len(parameters))], packed)


def store(states: Sequence[State], work: Work, healthy: torch.Tensor | None = None) -> None:
    """Keeps updated momentum: that of large parameters in codes, which stay as they are where `healthy` is false."""
    for places, values in work.packed:
        for place, part in zip(places, _parts(values, places, states), strict=True):
            buffer = work.buffers[place]
            if buffer.dtype != values.dtype:
                # A buffer of another dtype is a copy of what was decoded.
                part.view(-1)[: buffer.numel()].copy_(buffer.view(-1))
        codes, scales = square_map.quantize(values)
        lengths = [len(states[place]["momentum_codes"]) for place in places]
        for place, code, scale in zip(places, codes.split(lengths), scales.split(lengths), strict=True):
            for kept, new in ((states[place]["momentum_codes"], code), (states[place]["momentum_scales"], scale)):
                kept.copy_(new if healthy is None else torch.where(healthy, new, kept))


def compiled_first(
    pieces: Iterable[Piece], compiled: native.Descent, scale: torch.Tensor | None, rates: Rates
) -> list[Piece]:
    """Updates what C++ takes of what is kept in codes, of which nothing is in full precision then; returns the rest."""
    taken, rest = list[Piece](), list[Piece]()
    for piece in pieces:
        coded = "momentum_codes" in piece.state or encodes(piece.parameter)
        fit = coded and native.fits(piece.parameter, piece.grad, piece.direction)
        (taken if fit else rest).append(piece)
    if taken:
        parameters, grads, states, directions = zip(*taken, strict=True)
        momenta = [momentum(state, parameter) for state, parameter in zip(states, parameters, strict=True)]
        compiled(parameters, grads, momenta, native.along(parameters, directions), scale, rates)
    return rest


def momentum(state: State, parameter: torch.Tensor) -> native.Momentum:
    """Returns the momentum of a parameter as it is kept, to be updated in place; zeros for a first step."""
    if "momentum_codes" in state or encodes(parameter):
        start(state, parameter)
        return state["momentum_codes"], state["momentum_scales"]
    return (momentum_buffer(state, parameter),)


def start(state: State, parameter: torch.Tensor) -> None:
    """Gives a parameter without codes those of zeros."""
    if "momentum_codes" not in state:
        length = square_map.block_length(parameter.shape)
        blocks = -(-parameter.numel() // length)
        state["momentum_codes"] = parameter.new_zeros((blocks, length), dtype=torch.int8)
        state["momentum_scales"] = parameter.new_zeros(blocks, dtype=torch.float32)


def check(state_dict: dict[str, Any]) -> None:
    """Raises ValueError for a saved state whose momentum codes are not these: earlier ones were places in a table."""
    for values in state_dict["state"].values():
        codes = values.get("momentum_codes")
        if codes is not None and codes.dtype != torch.int8:
            raise ValueError(
                f"momentum_codes are {codes.dtype}: they are of the dynamic map that an earlier version used, and this "
                "one keeps int8 codes of the square map; load the state with the version that saved it, or start anew"
            )


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _parts(values: torch.Tensor, places: Sequence[int], states: Sequence[State]) -> Sequence[torch.Tensor]:
    return torch.split(values, [len(states[place]["momentum_codes"]) for place in places])
