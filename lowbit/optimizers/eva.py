"""Eva: second-order preconditioning by Kronecker vectors, with SGD momentum built in.

Source: Zhang et al. (ICLR 2023, arXiv 2308.02123), algorithm 1. The mathematics is in eva_update, the hooks are in
curvature; how state is kept between steps is in the methods that the 8-bit forms override.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from lowbit.optimizers import eva_update
from lowbit.optimizers.curvature import Capture
from lowbit.optimizers.descent import descend, momentum_buffer
from lowbit.optimizers.direction import Direction, directions_of
from lowbit.optimizers.eva_layers import Layer, find_layers
from lowbit.optimizers.hyperparameters import group_numbers, rates_of, require
from lowbit.optimizers.layer_steps import LayerSteps
from lowbit.optimizers.loss_scale import scaling
from lowbit.optimizers.mixed_state import MixedStateOptimizer
from lowbit.optimizers.native.choice import MayCompile
from lowbit.optimizers.native.descent import Momentum
from lowbit.optimizers.ranks import unwrap


class Eva(MayCompile, MixedStateOptimizer):
    """Preconditions the weights of Linear and Conv2d layers by Eva, and steps by SGD with momentum.

    Everything else (normalization, embeddings, modules of other classes, frozen or unused layers) gets plain SGD.
    Several backward passes before one step, and several uses of one module, are averaged; `zero_grad` of the optimizer
    drops what was collected together with the gradients. As in the published code a step may leave preconditioned
    gradients where it found gradients.

    Args:
        model: its layers are hooked, its parameters are optimized. In DistributedDataParallel its statistics are
            averaged over the ranks as its gradients are; see lowbit.optimizers.ranks.
        lr: learning rate, read from the parameter group at each step; a layer's KL term uses its weight's.
        momentum: factor of the momentum buffer, as in torch.optim.SGD.
        weight_decay: added to the preconditioned gradient, as in torch.optim.SGD.
        damping: gamma, above 0.
        kl_clip: bound of the KL clip; 0 keeps the gradient's norm instead, negative or None does neither.
        stat_decay: weight of the new value in the running averages, in (0, 1].
        stat_samples: how many samples of a batch the averages are taken from.
        stat_every: the averages are renewed in every n-th step.
        exclude: modules, or their names in the model, that get plain SGD with everything they contain.
        param_groups: as torch's `params`, to give groups other rates; one group of all parameters by default. What is
            in no group is not changed.
        grad_scaler: needed only where `scaler.unscale_(optimizer)` is called before the step: the output gradients
            that hooks saw are scaled, and without the scaler nobody knows by how much.
        compiled: what is fp32 on the CPU is preconditioned and updated by C++ of this package, compiled in half a
            second for this machine and kept in the user's cache; gradients then stay as they are. None: where there
            is a compiler.

    Raises ValueError for an argument outside its range and for shared weights, with the names of the modules, and
    lowbit.optimizers.native.library.CannotCompile where `compiled` is True and that is not possible.
    """

    # GradScaler then hands over its scale and its verdict as tensors, and the step needs no synchronisation.
    _step_supports_amp_scaling = True
    STATE_KEYS: ClassVar[frozenset[str]] = frozenset({"a", "g", "momentum_buffer"})

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        damping: float = 0.03,
        kl_clip: float | None = 1e-3,
        stat_decay: float = 0.95,
        stat_samples: int = 16,
        stat_every: int = 1,
        *,
        exclude: Iterable[nn.Module | str] = (),
        param_groups: Iterable[dict[str, Any]] | None = None,
        grad_scaler: torch.amp.GradScaler | None = None,
        compiled: bool | None = None,
    ) -> None:
        require(
            lr=lr, momentum=momentum, weight_decay=weight_decay, damping=damping, stat_decay=stat_decay,
            stat_samples=stat_samples, stat_every=stat_every,
        )  # fmt: skip
        self.damping, self.kl_clip, self.stat_decay, self.stat_every = damping, kl_clip, stat_decay, stat_every
        model, exchange = unwrap(model)
        self.layers = find_layers(model, exclude)
        # Names of layers: whose weights are in a group, and which have statistics.
        self._optimized: set[str] = set()
        self._known: set[str] = set()
        self.grad_scaler = grad_scaler
        groups = [{"params": list(model.parameters())}] if param_groups is None else list(param_groups)
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": 0})
        modules = {name: layer.module for name, layer in self.layers.items()}
        self.choose(compiled=compiled)
        self._layer_steps = LayerSteps()
        self.capture = Capture(modules, stat_samples, exchange, compiled=self.compiled)
        self.capture.gradients.expected = weakref.WeakMethod(self._expected)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group of parameters, whose layers are preconditioned from the next step on."""
        super().add_param_group(param_group)
        added = {id(p) for p in param_group["params"]}
        self._optimized.update(name for name, layer in self.layers.items() if id(layer.weight) in added)

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: FBT001, FBT002 - torch's signature
        """Drops gradients, and what hooks collected with them: a batch that is given up must leave no trace."""
        self.capture.drop()
        super().zero_grad(set_to_none)

    def wait_for_ranks(self) -> None:
        """Waits for the statistics that are on their way from other ranks; the next step would do so too."""
        if self.capture.exchange is not None:
            self.capture.exchange.wait()

    def close(self) -> None:
        """Removes the hooks from the model; later steps go on with the statistics there are."""
        self.capture.close()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient; a closure is evaluated first and its loss returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        healthy, unscale, unscale_vectors = scaling(self, self.grad_scaler)
        known = self.capture.known() if healthy is None and unscale is None else {}
        fresh = self._renew_statistics(healthy, unscale_vectors)
        # By identity: a tensor's own hash goes through Python.
        grads = {id(p): grad for group in self.param_groups for p in group["params"] if (grad := p.grad) is not None}
        if unscale is not None and grads:
            grads = dict(zip(grads, torch._foreach_mul(list(grads.values()), unscale), strict=True))
        layers, a, g = self._preconditioned(grads, fresh)
        done: frozenset[int] = frozenset()
        if layers and self.compiled and healthy is None:
            done = self._layer_steps(
                layers, grads, a, g, known=known, momenta=self._momenta, param_groups=self.param_groups,
                damping=self.damping, kl_clip=self.kl_clip,
            )  # fmt: skip
        # Nobody asks for sums of rows where torch's operations read gradients.
        self.capture.sums_rows = bool(done)
        scale, directions = self._directions(layers, grads, a, g) if layers and not done else (None, {})
        for number, group in enumerate(self.param_groups):
            found = [p for p in group["params"] if id(p) in grads and id(p) not in done]
            if found:
                along = [directions.get(id(p)) for p in found]
                self._descend(found, [grads[id(p)] for p in found], along, scale, number, healthy)
            group["steps"] += 1
        self._set_capture()
        return loss

    def _descend(
        self,
        parameters: list[torch.Tensor],
        grads: list[torch.Tensor],
        directions: list[Direction | None],
        scale: torch.Tensor | None,
        number: int,
        healthy: torch.Tensor | None,
    ) -> None:
        """Updates parameters of one group, which is given by its number, and their momentum."""
        descend(
            parameters, grads, self._buffers(parameters), rates_of(self.param_groups[number]), scale=scale,
            directions=directions, healthy=healthy, compiled=self.descent(number),
        )  # fmt: skip

    def _buffers(self, parameters: list[torch.Tensor]) -> list[torch.Tensor]:
        state = self.state
        try:
            return [state[p]["momentum_buffer"] for p in parameters]
        except KeyError:
            return [momentum_buffer(state[p], p) for p in parameters]

    def _momenta(self, parameters: list[torch.Tensor]) -> list[Momentum]:
        """Returns the momentum of parameters as it is kept, to be updated in place."""
        return [(buffer,) for buffer in self._buffers(parameters)]

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state; see MixedStateOptimizer.

        What follows is bit for bit what it would have been where products of matrices round alike wherever in memory
        their parts lie: MKL promises that under MKL_CBWR=AUTO,STRICT.
        """
        super().load_state_dict(state_dict)
        self._known = {
            name for name, layer in self.layers.items() if {"a", "a_codes"} & self.state.get(layer.weight, {}).keys()
        }
        self._set_capture()

    def _set_capture(self) -> None:
        self.capture.active = self.param_groups[0]["steps"] % self.stat_every == 0

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

    def _directions(
        self, layers: list[Layer], grads: dict[int, torch.Tensor], a: list[torch.Tensor], g: list[torch.Tensor]
    ) -> tuple[torch.Tensor, dict[int, Direction]]:
        """Preconditions layers by torch's operations."""
        dtype = g[0].dtype
        numbers = group_numbers([layer.weight for layer in layers], self.param_groups)
        biases = [None if layer.bias is None else grads.get(id(layer.bias)) for layer in layers]
        scale, columns = eva_update.precondition(
            [_as(dtype, grads[id(layer.weight)]) for layer in layers],
            [None if bias is None else _as(dtype, bias) for bias in biases], a, g,
            groups=[layer.groups for layer in layers],
            lrs=[self.param_groups[number]["lr"] for number in numbers], damping=self.damping,
            kl_clip=self.kl_clip,
        )  # fmt: skip
        return scale, directions_of(layers, grads, a, columns)

    def _expected(self, name: str, a: torch.Tensor) -> torch.Tensor | None:
        """Returns the mean input that a step will use of a layer, if this is that of the only pass."""
        kept = self.state.get(self.layers[name].weight, {}).get("a") if name in self._optimized else None
        return None if kept is None or kept.shape != a.shape else torch.lerp(kept, a, self.stat_decay)

    def _statistics(self, weights: Sequence[torch.Tensor]) -> list[tuple[dict[str, torch.Tensor], str]]:
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
        for (state, part), vector in zip(self._statistics(weights), averages, strict=True):
            state[part] = vector if healthy is None else torch.where(healthy, vector, state.get(part, 0.0))


def _as(dtype: torch.dtype, values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype == dtype else values.to(dtype)
