"""Eva with its state kept in 8 bits between steps.

A step works on the fp32 running averages and momentum; only what is kept for the next step is quantized. The rounding
of a stored average thus enters the next one with weight 1 - stat_decay, 0.05 by default, where quantizing first and
using the dequantized average would take all of it, for no less memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from lowbit.optimizers import blockwise
from lowbit.optimizers.eva import Eva

# As in bitsandbytes and torchao: below this a tensor is cheaper to keep than to encode.
SMALLEST = 4096
# Elements whose momentum is in full precision at one time. What is decoded, changed and encoded in pieces of a few MB
# stays in the caches and in memory that the process has already; taken all at once, the buffers of a model of ten
# million parameters went back to the system in each step, and a third of the optimizer's time was spent on getting
# their pages anew.
PORTION = 1 << 20


class Eva8bit(Eva):
    """Eva whose statistics and momentum are stored as block-wise 8-bit codes with fp32 scales.

    Takes Eva's arguments, and two switches. Momentum of tensors below 4,096 elements stays as it is. The state of
    fp64 parameters is encoded from fp32 as well.

    Args:
        model: see Eva.
        lr: see Eva.
        quantize_statistics: keeps a and g in 8 bits.
        quantize_momentum: keeps the momentum of large tensors in 8 bits.
        options: Eva's other arguments.
    """

    STATE_KEYS: ClassVar[frozenset[str]] = frozenset(
        {"a", "g", "a_codes", "a_scales", "g_codes", "g_scales", "momentum_buffer", "momentum_codes", "momentum_scales"}
    )

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        *options: Any,
        quantize_statistics: bool = True,
        quantize_momentum: bool = True,
        **named: Any,
    ) -> None:
        super().__init__(model, lr, *options, **named)
        self.quantize_statistics = quantize_statistics
        self.quantize_momentum = quantize_momentum
        self._work: tuple[blockwise.Layout, torch.Tensor] | None = None

    def _load_statistics(self, weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        if not self.quantize_statistics:
            return super()._load_statistics(weights)
        states = [(self.state[weight], part) for part in ("a", "g") for weight in weights]
        layout, buffer = blockwise.decode(
            [state[f"{part}_codes"] for state, part in states], [state[f"{part}_scales"] for state, part in states]
        )
        return [vector.to(_vector_dtype(weights[0])) for vector in layout.parts(buffer)]

    def _store_statistics(
        self, weights: Sequence[torch.Tensor], averages: Sequence[torch.Tensor], healthy: torch.Tensor | None
    ) -> None:
        if not self.quantize_statistics:
            super()._store_statistics(weights, averages, healthy)
            return
        self._keep_vectors(weights, *blockwise.encode(averages), healthy)

    def _keep_vectors(
        self,
        weights: Sequence[torch.Tensor],
        codes: Sequence[torch.Tensor],
        scales: Sequence[torch.Tensor],
        healthy: torch.Tensor | None,
    ) -> None:
        keys = [(weight, part) for part in ("a", "g") for weight in weights]
        for (weight, part), code, scale in zip(keys, codes, scales, strict=True):
            _keep(self.state[weight], part, code, scale, healthy)

    def _portions(self, parameters: list[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
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

    def _load_momentum(self, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        small = [parameter for parameter in parameters if not self._encodes(parameter)]
        buffers = dict(zip(small, super()._load_momentum(small), strict=True))
        known = [p for p in parameters if p not in buffers and "momentum_codes" in self.state.get(p, ())]
        if known:
            states = [self.state[parameter] for parameter in known]
            self._work = blockwise.decode(
                [state["momentum_codes"] for state in states], [state["momentum_scales"] for state in states]
            )
            layout, buffer = self._work
            for parameter, part in zip(known, layout.parts(buffer), strict=True):
                buffers[parameter] = part.view(parameter.shape).to(parameter.dtype)
        return [
            buffers[p] if p in buffers else torch.zeros_like(p, memory_format=torch.contiguous_format)
            for p in parameters
        ]

    def _store_momentum(
        self, parameters: Sequence[torch.Tensor], buffers: Sequence[torch.Tensor], healthy: torch.Tensor | None
    ) -> None:
        small = [(p, buffer) for p, buffer in zip(parameters, buffers, strict=True) if not self._encodes(p)]
        super()._store_momentum([p for p, _ in small], [buffer for _, buffer in small], healthy)
        large = [(p, buffer) for p, buffer in zip(parameters, buffers, strict=True) if self._encodes(p)]
        if large:
            codes, scales = self._encode([buffer for _, buffer in large])
            for (parameter, _), code, scale in zip(large, codes, scales, strict=True):
                _keep(self.state[parameter], "momentum", code, scale, healthy)

    def _encode(self, buffers: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Encodes momentum; buffers that still lie where they were decoded are not packed a second time."""
        work, self._work = self._work, None
        if work is not None:
            layout, packed = work
            parts = layout.parts(packed)
            if [part.data_ptr() for part in parts] == [buffer.data_ptr() for buffer in buffers]:
                return blockwise.encode_packed(layout, packed)
        return blockwise.encode(buffers)

    def _encodes(self, parameter: torch.Tensor) -> bool:
        return self.quantize_momentum and parameter.numel() >= SMALLEST


def _vector_dtype(weight: torch.Tensor) -> torch.dtype:
    return torch.promote_types(weight.dtype, torch.float32)


def _keep(
    state: dict[str, torch.Tensor], part: str, codes: torch.Tensor, scales: torch.Tensor, healthy: torch.Tensor | None
) -> None:
    if healthy is not None:
        # A scale of zero decodes to zeros, whatever the codes are.
        scales = torch.where(healthy, scales, state.get(f"{part}_scales", 0.0))
        codes = torch.where(healthy, codes, state.get(f"{part}_codes", codes))
    state[f"{part}_codes"], state[f"{part}_scales"] = codes, scales
