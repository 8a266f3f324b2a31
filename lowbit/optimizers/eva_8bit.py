"""Eva with its state kept in 8 bits between steps.

A step works on the fp32 running averages and momentum; only what is kept for the next step is quantized. The rounding
of a stored average thus enters the next one with weight 1 - stat_decay, 0.05 by default, where quantizing first and
using the dequantized average would take all of it, for no less memory.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from lowbit.optimizers import blockwise, momentum_8bit
from lowbit.optimizers.descent import descend
from lowbit.optimizers.direction import Direction
from lowbit.optimizers.eva import Eva
from lowbit.optimizers.graph_capture import keep
from lowbit.optimizers.hyperparameters import rates_of
from lowbit.optimizers.kronecker import vector_dtype
from lowbit.optimizers.native import blockwise as native_blockwise
from lowbit.optimizers.native import descent as native
from lowbit.optimizers.native.averages import Averages


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

    # Whether new averages are encoded where they are computed.
    _encodes_at_once: ClassVar[bool] = True

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        *options: Any,
        quantize_statistics: bool = True,
        quantize_momentum: bool = True,
        **named: Any,
    ) -> None:
        if quantize_momentum and named.get("compiled") == "inductor":
            raise ValueError(
                'compiled="inductor": momentum in codes is updated by C++ or by torch\'s operations; take Eva, or '
                "quantize_momentum=False"
            )
        self.quantize_statistics = quantize_statistics
        self.quantize_momentum = quantize_momentum
        self._in_codes = Averages()
        # By layer.
        self._expected_of: dict[str, Averages] = collections.defaultdict(Averages)
        super().__init__(model, lr, *options, **named)

    @property
    def _coder(self) -> blockwise.Coder:
        """What codes statistics: C++, or torch's operations."""
        return native_blockwise if self.compiled else blockwise

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state; see MixedStateOptimizer. Raises ValueError for codes of an earlier version."""
        momentum_8bit.check(state_dict)
        super().load_state_dict(state_dict)

    def _load_statistics(self, weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        if not self.quantize_statistics:
            return super()._load_statistics(weights)
        found = self._statistics(weights)
        vectors = self._coder.decode(
            [state[f"{part}_codes"] for state, part in found], [state[f"{part}_scales"] for state, part in found]
        )
        dtype = vector_dtype(weights[0].dtype)
        return vectors if dtype == torch.float32 else [vector.to(dtype) for vector in vectors]

    def _expected(self, name: str, a: torch.Tensor) -> torch.Tensor | None:
        if not self.quantize_statistics:
            return super()._expected(name, a)
        state = self.state.get(self.layers[name].weight, {})
        if name not in self._optimized or "a_codes" not in state or state["a_codes"].shape != a.shape:
            return None
        kept = [state["a_codes"]], [state["a_scales"]]
        found = self._expected_of[name](*kept, [a], self.stat_decay, keeps=False)
        return None if found is None else found[0]

    def _averages(
        self,
        weights: list[torch.Tensor],
        new: list[torch.Tensor],
        known: list[bool],
        healthy: torch.Tensor | None,
    ) -> list[torch.Tensor]:
        if self.compiled and self.quantize_statistics and healthy is None and all(known):
            found = self._statistics(weights)
            codes, scales = ([state[f"{part}_{kind}"] for state, part in found] for kind in ("codes", "scales"))
            result = self._in_codes(codes, scales, new, self.stat_decay, keeps=self._encodes_at_once)
            if result is not None:
                if not self._encodes_at_once:
                    self._store_statistics(weights, result, None)
                return result
        return super()._averages(weights, new, known, healthy)

    def _store_statistics(
        self, weights: Sequence[torch.Tensor], averages: Sequence[torch.Tensor], healthy: torch.Tensor | None
    ) -> None:
        if not self.quantize_statistics:
            super()._store_statistics(weights, averages, healthy)
            return
        self._keep_vectors(weights, *self._coder.encode(averages), healthy)

    def _keep_vectors(
        self,
        weights: Sequence[torch.Tensor],
        codes: Sequence[torch.Tensor],
        scales: Sequence[torch.Tensor],
        healthy: torch.Tensor | None,
    ) -> None:
        statistics = self._statistics(weights)
        # A scale of zero decodes to zeros, whatever the codes are.
        places = [(state, f"{part}_{kind}") for kind in ("codes", "scales") for state, part in statistics]
        keep(places, [*codes, *scales], healthy, in_place=self.capturable)

    def _momenta(self, parameters: list[torch.Tensor]) -> list[native.Momentum]:
        if not self.quantize_momentum:
            return super()._momenta(parameters)
        return [momentum_8bit.momentum(self.state[p], p) for p in parameters]

    def _descend(
        self,
        parameters: list[torch.Tensor],
        grads: list[torch.Tensor],
        directions: list[Direction | None],
        scale: torch.Tensor | None,
        number: int,
        healthy: torch.Tensor | None,
    ) -> None:
        if not self.quantize_momentum:
            super()._descend(parameters, grads, directions, scale, number, healthy)
            return
        rates, compiled = rates_of(self.param_groups[number]), self.descent(number)
        states = [self.state[p] for p in parameters]
        pieces = [momentum_8bit.Piece(*of) for of in zip(parameters, grads, states, directions, strict=True)]
        if compiled is not None and native.takes(rates, healthy):
            pieces = momentum_8bit.compiled_first(pieces, compiled, scale, rates)
        for portion in momentum_8bit.portions(pieces):
            states, own = [piece.state for piece in portion], [piece.parameter for piece in portion]
            work = momentum_8bit.load(states, own)
            descend(
                own, [piece.grad for piece in portion], work.buffers, rates, scale=scale,
                directions=[piece.direction for piece in portion], healthy=healthy,
                compiled=compiled,
            )  # fmt: skip
            momentum_8bit.store(states, work, healthy)
            # Before the next portion is in full precision too.
            del work
