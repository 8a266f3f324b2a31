"""Eva-f: preconditioning by the mean input of each layer alone, with SGD momentum built in.

Source: the authors of Eva, see eva_f_update. It needs no output gradients, and so no hook in backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import nn

from lowbit.optimizers import eva_f_update, graph_capture
from lowbit.optimizers.descent import descend, momentum_buffer
from lowbit.optimizers.direction import Direction, directions_of
from lowbit.optimizers.eva_layers import Layer, find_layers
from lowbit.optimizers.hyperparameters import rates_of, require
from lowbit.optimizers.input_capture import InputCapture
from lowbit.optimizers.mixed_state import MixedStateOptimizer
from lowbit.optimizers.native.choice import MayCompile
from lowbit.optimizers.ranks import unwrap


class EvaF(MayCompile, MixedStateOptimizer):
    """Preconditions the weights of Linear and Conv2d layers by their mean input, and steps by SGD with momentum.

    Everything else gets plain SGD, and so does a layer that no forward pass has shown its input yet. The
    preconditioned gradients are normalized together, in place of a KL clip: gradients that are all twice as large give
    the same step, and one that fades leaves a step that does not.

    Args:
        model: its layers are hooked, its parameters are optimized.
        lr: learning rate, read from the parameter group at each step.
        momentum: factor of the momentum buffer, as in torch.optim.SGD.
        weight_decay: added to the preconditioned gradient, as in torch.optim.SGD.
        damping: gamma, above 0.
        stat_decay: weight of the new value in the running averages, in (0, 1].
        stat_samples: how many samples of a batch the averages are taken from.
        stat_every: the averages are renewed in every n-th step.
        exclude: modules, or their names in the model, that get plain SGD with everything they contain.
        param_groups: as torch's `params`, to give groups other rates; one group of all parameters by default.
        compiled: what is fp32 on the CPU is updated by C++ of this package; see Eva.
        capturable: whole training steps may be captured in a CUDA graph; see Eva.

    Raises ValueError for an argument outside its range and for shared weights, with the names of the modules.
    """

    STATE_KEYS: ClassVar[frozenset[str]] = frozenset({"a", "momentum_buffer"})

    def __init__(
        self,
        model: nn.Module,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
        damping: float = 0.03,
        stat_decay: float = 0.95,
        stat_samples: int = 16,
        stat_every: int = 1,
        *,
        exclude: Iterable[nn.Module | str] = (),
        param_groups: Iterable[dict[str, Any]] | None = None,
        compiled: bool | None = None,
        capturable: bool = False,
    ) -> None:
        if capturable:
            graph_capture.check_options(type(self).__name__, stat_every=stat_every, compiled=compiled)
        require(
            lr=lr, momentum=momentum, weight_decay=weight_decay, damping=damping, stat_decay=stat_decay,
            stat_samples=stat_samples, stat_every=stat_every,
        )  # fmt: skip
        self.damping, self.stat_decay, self.stat_every = damping, stat_decay, stat_every
        model, exchange = unwrap(model, vectors=1)
        self.layers = find_layers(model, exclude)
        groups = [{"params": list(model.parameters())}] if param_groups is None else list(param_groups)
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": 0})
        self.capturable = capturable
        self.choose(compiled=False if capturable else compiled)
        self.capture = InputCapture({name: layer.module for name, layer in self.layers.items()}, stat_samples, exchange)

    def wait_for_ranks(self) -> None:
        """Exchanges statistics with other ranks; the next step would do so too."""
        self.capture.exchange_now()

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
        graph_capture.check(type(self).__name__, capturable=self.capturable, ready=self._has_state)
        # By identity: a tensor's own hash goes through Python.
        grads = {id(p): p.grad for group in self.param_groups for p in group["params"] if p.grad is not None}
        self._renew_statistics()
        layers = [x for x in self.layers.values() if id(x.weight) in grads and "a" in self.state.get(x.weight, ())]
        scale, directions = self._directions(layers, grads) if layers else (None, {})
        for number, group in enumerate(self.param_groups):
            found = [p for p in group["params"] if id(p) in grads]
            if found:
                buffers = [momentum_buffer(self.state[p], p) for p in found]
                descend(
                    found, [grads[id(p)] for p in found], buffers, rates_of(group),
                    scale=scale, directions=[directions.get(id(p)) for p in found], compiled=self.descent(number),
                )  # fmt: skip
            group["steps"] += 1
        self._set_capture()
        return loss

    def _has_state(self) -> bool:
        """Says whether the next step finds all state that it would otherwise make."""
        seen = (self.layers[name].weight for name in self.capture.seen())
        # Of what is in no group there is no state.
        return graph_capture.has_momentum(self) and all("a" in self.state[w] for w in seen if w in self.state)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Loads a state; see MixedStateOptimizer."""
        super().load_state_dict(state_dict)
        self._set_capture()

    def _set_capture(self) -> None:
        self.capture.active = self.param_groups[0]["steps"] % self.stat_every == 0

    def _renew_statistics(self) -> None:
        """Blends what the hooks took into the running averages; the first value is taken as it is."""
        optimized = {p for group in self.param_groups for p in group["params"]}
        fresh = {self.layers[name].weight: a for name, a in self.capture.take().items()}
        known = [weight for weight in fresh if "a" in self.state.get(weight, ())]
        if known:
            kept = [self.state[weight]["a"] for weight in known]
            torch._foreach_lerp_(kept, [fresh[weight] for weight in known], self.stat_decay)
        for weight, a in fresh.items():
            if weight in optimized:
                self.state[weight].setdefault("a", a)

    def _directions(
        self, layers: list[Layer], grads: dict[int, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[int, Direction]]:
        a = [self.state[layer.weight]["a"] for layer in layers]
        biases = [None if layer.bias is None else grads.get(id(layer.bias)) for layer in layers]
        scale, columns = eva_f_update.precondition(
            [grads[id(layer.weight)].to(a[0].dtype) for layer in layers],
            [None if bias is None else bias.to(a[0].dtype) for bias in biases],
            a,
            groups=[layer.groups for layer in layers],
            damping=self.damping,
        )
        return scale, directions_of(layers, grads, a, columns)
