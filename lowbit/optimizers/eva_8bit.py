"""Eva with its state kept in 8 bits between steps.

A step works on the fp32 running averages and momentum; only what is kept for the next step is quantized. The rounding
of a stored average thus enters the next one with weight 1 - stat_decay, 0.05 by default, where quantizing first and
using the dequantized average would take all of it, for no less memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from lowbit.optimizers import blockwise, compiled_momentum, momentum_8bit
from lowbit.optimizers.descent import Direction, descend
from lowbit.optimizers.eva import Eva
from lowbit.optimizers.hyperparameters import Rates
from lowbit.optimizers.kronecker import vector_dtype


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
        {"a", "g", "a_codes", "a_scales", "g_codes", "g_scales"} | momentum_8bit.KEYS
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
        self.quantize_statistics = quantize_statistics
        self.quantize_momentum = quantize_momentum
        super().__init__(model, lr, *options, **named)

    @torch.no_grad()
    def _rehearse(self) -> None:
        if not self.quantize_momentum:
            super()._rehearse()
            return
        weights = [layer.weight for layer in self.layers.values() if layer.groups == 1]
        known = {id(layer.weight) for layer in self.layers.values()}
        others = [p for group in self.param_groups for p in group["params"] if id(p) not in known]
        compiled_momentum.rehearse(weights, others)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state; see MixedStateOptimizer. Raises ValueError for codes of an earlier version."""
        momentum_8bit.check(state_dict)
        super().load_state_dict(state_dict)

    def _load_statistics(self, weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        if not self.quantize_statistics:
            return super()._load_statistics(weights)
        states = [(self.state[weight], part) for part in ("a", "g") for weight in weights]
        layout, buffer = blockwise.decode(
            [state[f"{part}_codes"] for state, part in states], [state[f"{part}_scales"] for state, part in states]
        )
        return [vector.to(vector_dtype(weights[0].dtype)) for vector in layout.parts(buffer)]

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

    def _descend(
        self,
        parameters: list[torch.Tensor],
        grads: list[torch.Tensor],
        directions: list[Direction | None],
        scale: torch.Tensor | None,
        rates: Rates,
        healthy: torch.Tensor | None,
    ) -> None:
        if not self.quantize_momentum:
            super()._descend(parameters, grads, directions, scale, rates, healthy)
            return
        pieces = []
        for p, grad, direction in zip(parameters, grads, directions, strict=True):
            if self.compiled and healthy is None and compiled_momentum.takes(p, grad, direction):
                compiled_momentum.step(p, grad, self.state[p], direction, scale, rates)
            else:
                pieces.append(momentum_8bit.Piece(p, grad, self.state[p], direction))
        for portion in momentum_8bit.portions(pieces):
            states, own = [piece.state for piece in portion], [piece.parameter for piece in portion]
            work = momentum_8bit.load(states, own)
            descend(
                own, [piece.grad for piece in portion], work.buffers, rates, scale=scale,
                directions=[piece.direction for piece in portion], healthy=healthy,
            )  # fmt: skip
            momentum_8bit.store(states, work, healthy)
            # Before the next portion is in full precision too.
            del work


def _keep(
    state: dict[str, torch.Tensor], part: str, codes: torch.Tensor, scales: torch.Tensor, healthy: torch.Tensor | None
) -> None:
    if healthy is not None:
        # A scale of zero decodes to zeros, whatever the codes are.
        scales = torch.where(healthy, scales, state.get(f"{part}_scales", 0.0))
        codes = torch.where(healthy, codes, state.get(f"{part}_codes", codes))
    state[f"{part}_codes"], state[f"{part}_scales"] = codes, scales
