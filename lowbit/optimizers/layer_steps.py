"""Steps of Eva's layers in C++: preconditioned in one call, and descended along in one for each parameter group."""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from lowbit.optimizers.eva_layers import Layer
from lowbit.optimizers.factors import Factors
from lowbit.optimizers.hyperparameters import group_numbers, rates_of
from lowbit.optimizers.native.descent import Along, Descent, Momentum, takes
from lowbit.optimizers.native.layout import all_plain, all_plain_gradients
from lowbit.optimizers.native.precondition import Preconditioner, Rows


class _Plan(NamedTuple):
    """What does not change while the same layers have gradients."""

    layers: list[Layer]
    # Which of the layers have a bias with a gradient, and all weights and then these biases.
    biased: list[int]
    parameters: list[torch.Tensor]
    # The number of each parameter's group.
    groups: list[int]
    blocks: list[int]
    ids: frozenset[int]


class LayerSteps:
    """Preconditions layers and descends along them, where C++ takes all of them."""

    def __init__(self) -> None:
        self._plan = _Plan([], [], [], [], [], frozenset())
        self._precondition = Preconditioner()
        # By parameter group.
        self._descents: dict[int, Descent] = collections.defaultdict(Descent)

    def __call__(
        self,
        layers: list[Layer],
        grads: Mapping[int, torch.Tensor],
        a: list[torch.Tensor],
        g: list[torch.Tensor],
        *,
        known: Mapping[str, Factors | Rows],
        momenta: Callable[[list[torch.Tensor]], list[Momentum]],
        param_groups: Sequence[dict[str, Any]],
        damping: float,
        kl_clip: float | None,
    ) -> frozenset[int]:
        """Updates the layers' parameters and momentum, and returns the `id` of each: of none where C++ is not for them.

        Gradients are given by the `id` of their parameters, what is known of them by the names of layers; `momenta`
        returns what is kept of parameters.
        """
        weight_grads = [grads[id(x.weight)] for x in layers]
        bias_grads = [None if x.bias is None else grads.get(id(x.bias)) for x in layers]
        own = weight_grads + [grad for grad in bias_grads if grad is not None]
        rates = list(map(rates_of, param_groups))
        biased = [at for at, grad in enumerate(bias_grads) if grad is not None]
        plan = self._plan
        if plan.layers != layers or plan.biased != biased or len(param_groups) > 1:
            plan = self._plan = _planned(layers, biased, param_groups)
        plain = all_plain(plan.parameters) and all_plain_gradients(own) and all_plain(a) and all_plain(g)
        if not plain or not all(takes(each, None) for each in rates):
            return frozenset()
        scale, columns = self._precondition(
            weight_grads, bias_grads, a, g, groups=plan.blocks,
            lrs=[float(rates[group].lr) for group in plan.groups[: len(layers)]],
            known=[known.get(x.name) for x in layers] if known else [None] * len(layers), damping=damping,
            kl_clip=kl_clip,
        )  # fmt: skip
        rows = list(map(torch.Tensor.numel, g))
        widths = map(torch.Tensor.numel, a)
        along = Along(
            columns.addresses + [columns.addresses[at] for at in biased],
            list(map(torch.Tensor.data_ptr, a)) + [0] * len(biased),
            [(high, wide // n, n) for high, wide, n in zip(rows, widths, plan.blocks, strict=True)]
            + [(rows[at], 1, 1) for at in biased],
        )
        kept = momenta(plan.parameters)
        if len(param_groups) == 1:
            self._descents[0](plan.parameters, own, kept, along, scale, rates[0])
            return plan.ids
        for number in set(plan.groups):
            of = [at for at, group in enumerate(plan.groups) if group == number]
            where = Along([along.columns[at] for at in of], [along.a[at] for at in of], [along.shapes[at] for at in of])
            self._descents[number](
                [plan.parameters[at] for at in of], [own[at] for at in of], [kept[at] for at in of], where, scale,
                rates[number],
            )  # fmt: skip
        return plan.ids


def _planned(layers: list[Layer], biased: list[int], param_groups: Sequence[dict[str, Any]]) -> _Plan:
    parameters = [x.weight for x in layers] + [bias for at in biased if (bias := layers[at].bias) is not None]
    return _Plan(
        layers, biased, parameters, group_numbers(parameters, param_groups), [x.groups for x in layers],
        frozenset(map(id, parameters)),
    )  # fmt: skip
