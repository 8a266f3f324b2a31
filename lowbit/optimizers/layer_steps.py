"""Steps of Eva's layers in C++: preconditioned in one call, and descended along in one for each parameter group."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from lowbit.optimizers.eva_layers import Layer
from lowbit.optimizers.factors import Factors
from lowbit.optimizers.hyperparameters import rates_of
from lowbit.optimizers.native.descent import Along, Descent, Momentum, takes
from lowbit.optimizers.native.layout import all_plain, all_plain_gradients
from lowbit.optimizers.native.precondition import Preconditioner


class LayerSteps:
    """Preconditions layers and descends along them, where C++ takes all of them."""

    def __init__(self) -> None:
        self._precondition = Preconditioner()
        # By parameter group.
        self._descents: dict[int, Descent] = collections.defaultdict(Descent)

    def __call__(
        self,
        layers: Sequence[Layer],
        grads: Mapping[int, torch.Tensor],
        a: Sequence[torch.Tensor],
        g: Sequence[torch.Tensor],
        *,
        factors: Mapping[str, Factors],
        momentum: Callable[[torch.Tensor], Momentum],
        param_groups: Sequence[dict[str, Any]],
        damping: float,
        kl_clip: float | None,
    ) -> frozenset[int]:
        """Updates the layers' parameters and momentum, and returns the `id` of each: of none where C++ is not for them.

        Gradients are given by the `id` of their parameters, factors by the names of layers.
        """
        weights, weight_grads = [x.weight for x in layers], [grads[id(x.weight)] for x in layers]
        bias_grads = [None if x.bias is None else grads.get(id(x.bias)) for x in layers]
        biased = [at for at, grad in enumerate(bias_grads) if grad is not None]
        parameters = weights + [bias for at in biased if (bias := layers[at].bias) is not None]
        own = weight_grads + [grad for grad in bias_grads if grad is not None]
        rates = list(map(rates_of, param_groups))
        plain = all_plain([*parameters, *a, *g]) and all_plain_gradients(own)
        if not plain or not all(takes(each, None) for each in rates):
            return frozenset()
        groups = _groups(parameters, param_groups)
        blocks = [x.groups for x in layers]
        scale, columns = self._precondition(
            weight_grads, bias_grads, a, g, groups=blocks, lrs=[rates[group].lr for group in groups[: len(layers)]],
            factors=[factors.get(x.name) for x in layers], damping=damping, kl_clip=kl_clip,
        )  # fmt: skip
        rows = list(map(torch.Tensor.numel, g))
        shapes = [(high, of.numel() // n, n) for high, of, n in zip(rows, a, blocks, strict=True)]
        momenta = list(map(momentum, parameters))
        along = Along(
            columns.addresses + [columns.addresses[at] for at in biased],
            list(map(torch.Tensor.data_ptr, a)) + [0] * len(biased),
            shapes + [(rows[at], 1, 1) for at in biased],
        )
        if len(param_groups) == 1:
            self._descents[0](parameters, own, momenta, along, scale, rates[0])
        else:
            for group in set(groups):
                of = [at for at, number in enumerate(groups) if number == group]
                picked = ([values[at] for at in of] for values in (parameters, own, momenta))
                self._descents[group](*picked, Along(*([values[at] for at in of] for values in along)), scale, rates[group])
        return frozenset(map(id, parameters))


def _groups(parameters: Sequence[torch.Tensor], param_groups: Sequence[dict[str, Any]]) -> list[int]:
    """Returns the number of each parameter's group."""
    if len(param_groups) == 1:
        return [0] * len(parameters)
    numbers = {id(p): number for number, group in enumerate(param_groups) for p in group["params"]}
    return [numbers[id(p)] for p in parameters]
