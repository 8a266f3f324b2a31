"""Eva: second-order preconditioning by Kronecker vectors, with SGD momentum built in.

Source: Zhang et al. (ICLR 2023, arXiv 2308.02123), algorithm 1. The mathematics is in eva_update, the hooks are in
curvature; how statistics are kept between steps is in kept_statistics, which the 8-bit forms override.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from lowbit.optimizers import eva_update, graph_capture
from lowbit.optimizers.curvature import Capture
from lowbit.optimizers.descent import descend, momentum_buffer
from lowbit.optimizers.direction import Direction, directions_of
from lowbit.optimizers.eva_layers import Layer, find_layers
from lowbit.optimizers.hyperparameters import group_numbers, rates_of, require
from lowbit.optimizers.inductor_steps import InductorSteps
from lowbit.optimizers.kept_statistics import KeepsStatistics
from lowbit.optimizers.layer_steps import LayerSteps
from lowbit.optimizers.loss_scale import scaling
from lowbit.optimizers.mixed_state import MixedStateOptimizer
from lowbit.optimizers.native.choice import MayCompile
from lowbit.optimizers.native.descent import Momentum
from lowbit.optimizers.ranks import unwrap


class Eva(MayCompile, KeepsStatistics, MixedStateOptimizer):
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
        bias_gradients: mean output gradients come from gradients of biases, which are their sums, in place of hooks:
            for losses without a term of a bias, biases that only their modules' calls use, and gradients that are
            as backward left them when the step is taken. It is done where one pass of a layer is its whole batch,
            of at most `stat_samples`, on the CPU and on one rank; not with grad_scaler.
        compiled: what is fp32 on the CPU is preconditioned and updated by C++ of this package, compiled in half a
            second for this machine and kept in the user's cache; gradients then stay as they are. None: where there
            is a compiler. "inductor": torch.compile makes the update of the layers in place of C++, in 10 to 30 seconds
            at the first step: for layers on one device in one dtype, fp32 or wider, without a GradScaler.
        capturable: whole training steps may be captured in a CUDA graph, after a step that was not: all state stays
            where it is, and torch's operations make the step. A rate that changes between replays has to be a tensor
            on the device.

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
        bias_gradients: bool = False,
        compiled: bool | Literal["inductor"] | None = None,
        capturable: bool = False,
    ) -> None:
        if capturable:
            graph_capture.check_options(type(self).__name__, stat_every=stat_every, compiled=compiled)
        if bias_gradients and grad_scaler is not None:
            raise ValueError(
                "bias_gradients=True with grad_scaler: `unscale_` changes the gradients of biases before a step; leave "
                "one away"
            )
        require(
            lr=lr, momentum=momentum, weight_decay=weight_decay, damping=damping, stat_decay=stat_decay,
            stat_samples=stat_samples, stat_every=stat_every,
        )  # fmt: skip
        self.damping, self.kl_clip, self.stat_decay, self.stat_every = damping, kl_clip, stat_decay, stat_every
        model, exchange = unwrap(model)
        self.layers = find_layers(model, exclude)
        self._optimized = set()
        self._known = set()
        self.grad_scaler = grad_scaler
        groups = [{"params": list(model.parameters())}] if param_groups is None else list(param_groups)
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "steps": 0})
        modules = {name: layer.module for name, layer in self.layers.items()}
        self.capturable = capturable
        if compiled == "inductor":
            self.choose(compiled=False)
            self._layer_steps: LayerSteps | InductorSteps | None = InductorSteps()
        else:
            self.choose(compiled=False if capturable else compiled)
            self._layer_steps = LayerSteps() if self.compiled else None
        self.capture = Capture(modules, stat_samples, exchange, compiled=self.compiled, bias_gradients=bias_gradients)
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

    @property
    def remarks(self) -> dict[str, str]:
        """What stands below the rows of this optimizer, by a word for it."""
        return self._layer_steps.remarks if isinstance(self._layer_steps, InductorSteps) else super().remarks

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
        healthy, unscale, unscale_vectors = scaling(self, self.grad_scaler)
        known = self.capture.known() if healthy is None and unscale is None else {}
        fresh = self._renew_statistics(healthy, unscale_vectors)
        # By identity: a tensor's own hash goes through Python.
        grads = {id(p): grad for group in self.param_groups for p in group["params"] if (grad := p.grad) is not None}
        if unscale is not None and grads:
            grads = dict(zip(grads, torch._foreach_mul(list(grads.values()), unscale), strict=True))
        layers, a, g = self._preconditioned(grads, fresh)
        done: frozenset[int] = frozenset()
        if layers and self._layer_steps is not None and healthy is None:
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

    def _has_state(self) -> bool:
        """Says whether the next step finds all state that it would otherwise make."""
        return graph_capture.has_momentum(self) and self._optimized & self.capture.seen() <= self._known

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

    def _directions(
        self, layers: list[Layer], grads: dict[int, torch.Tensor], a: list[torch.Tensor], g: list[torch.Tensor]
    ) -> tuple[torch.Tensor, dict[int, Direction]]:
        """Preconditions layers by torch's operations."""
        # A model may have layers of several.
        dtype = functools.reduce(torch.promote_types, {vector.dtype for vector in g})
        numbers = group_numbers([layer.weight for layer in layers], self.param_groups)
        biases = [None if layer.bias is None else grads.get(id(layer.bias)) for layer in layers]
        scale, columns = eva_update.precondition(
            [_as(dtype, grads[id(layer.weight)]) for layer in layers],
            [None if bias is None else _as(dtype, bias) for bias in biases],
            [_as(dtype, vector) for vector in a], [_as(dtype, vector) for vector in g],
            groups=[layer.groups for layer in layers],
            lrs=[self.param_groups[number]["lr"] for number in numbers], damping=self.damping,
            kl_clip=self.kl_clip,
        )  # fmt: skip
        return scale, directions_of(layers, grads, a, columns)


def _as(dtype: torch.dtype, values: torch.Tensor) -> torch.Tensor:
    return values if values.dtype == dtype else values.to(dtype)
