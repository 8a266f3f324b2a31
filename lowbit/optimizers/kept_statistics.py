"""The running averages that Eva keeps of what its hooks take: in the state of each weight, in full precision here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lowbit.optimizers import eva_update
from lowbit.optimizers.curvature import Capture
from lowbit.optimizers.eva_layers import Layer
from lowbit.optimizers.graph_capture import Place, keep

if TYPE_CHECKING:
    from collections import defaultdict


class KeepsStatistics:
    """Gives an optimizer the averages of its layers' vectors; forms that keep them otherwise override what does it."""

    layers: dict[str, Layer]
    capture: Capture
    capturable: bool
    stat_decay: float
    state: defaultdict[torch.Tensor, dict[str, torch.Tensor]]
    # Names of layers: whose weights are in a group, and which have statistics.
    _optimized: set[str]
    _known: set[str]

    def _renew_statistics(
        self, healthy: torch.Tensor | None, unscale: torch.Tensor | None
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Blends what the hooks took into the running averages and returns them, in full precision, by layer."""
        pairs = {name: pair for name, pair in self.capture.take().items() if name in self._optimized}
        if not pairs:
            return {}
        g = [pair[1] for pair in pairs.values()]
        new = [pair[0] for pair in pairs.values()] + (g if unscale is None else list(torch._foreach_mul(g, unscale)))
        weights = [self.layers[name].weight for name in pairs]
        known = [name in self._known for name in pairs]
        found = self._averages(weights, new, known, healthy)
        self._known.update(pairs)
        count = len(weights)
        return dict(zip(pairs, zip(found[:count], found[count:], strict=True), strict=True))

    def _averages(
        self,
        weights: list[torch.Tensor],
        new: list[torch.Tensor],
        known: list[bool],
        healthy: torch.Tensor | None,
    ) -> list[torch.Tensor]:
        """Returns the running averages of layers, which it keeps; some layers may have none yet."""
        if not any(known):
            averages = [vector.clone() for vector in new]
        else:
            # A first value stays as it is: it is averaged with itself.
            kept = iter(self._load_statistics([w for w, has in zip(weights, known, strict=True) if has]))
            averages = [next(kept) if has else value.clone() for has, value in zip(known * 2, new, strict=True)]
            if healthy is not None:
                # Zeros stand for a first value that was not finite.
                averages = [torch.where((o == 0).all(), n, o) for o, n in zip(averages, new, strict=True)]
            eva_update.average_(averages, new, self.stat_decay)
        self._store_statistics(weights, averages, healthy)
        return averages

    def _preconditioned(
        self, grads: dict[int, torch.Tensor], fresh: dict[str, tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[list[Layer], list[torch.Tensor], list[torch.Tensor]]:
        """Returns every layer that has a gradient and statistics, with its vectors."""
        layers = [x for name, x in self.layers.items() if name in self._known and id(x.weight) in grads]
        stale = [layer for layer in layers if layer.name not in fresh]
        if stale:
            kept = self._load_statistics([layer.weight for layer in stale])
            pairs = zip(kept[: len(stale)], kept[len(stale) :], strict=True)
            fresh = fresh | dict(zip([layer.name for layer in stale], pairs, strict=True))
        a, g = ([fresh[layer.name][part] for layer in layers] for part in (0, 1))
        return layers, a, g

    def _expected(self, name: str, a: torch.Tensor) -> torch.Tensor | None:
        """Returns the mean input that a step will use of a layer, if this is that of the only pass."""
        kept = self.state.get(self.layers[name].weight, {}).get("a") if name in self._optimized else None
        return None if kept is None or kept.shape != a.shape else torch.lerp(kept, a, self.stat_decay)

    def _statistics(self, weights: Sequence[torch.Tensor]) -> list[Place]:
        """Returns where statistics are kept: the state of each weight with a, then with g."""
        # A tensor's own hash goes through Python, so each is looked up once.
        states = [self.state[weight] for weight in weights]
        return [(state, part) for part in ("a", "g") for state in states]

    def _load_statistics(self, weights: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Returns all a and then all g, in full precision."""
        return [state[part] for state, part in self._statistics(weights)]

    def _store_statistics(
        self, weights: Sequence[torch.Tensor], averages: Sequence[torch.Tensor], healthy: torch.Tensor | None
    ) -> None:
        """Keeps all a and then all g; where `healthy` is false, what was kept before stays, or zeros."""
        keep(self._statistics(weights), averages, healthy, in_place=self.capturable)
