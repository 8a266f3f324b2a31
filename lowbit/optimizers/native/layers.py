"""Steps of all layers of an optimizer in C++: precondition.cpp does what eva_update says, descent.cpp what descent says.

Small layers take less time in C++ than it takes to tell C++ of them. What does not change from one step to the next is
checked and laid out once, and a step that is like the last one only fills in where its gradients and vectors are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import torch

from lowbit.optimizers.factors import Factors
from lowbit.optimizers.hyperparameters import Rates
from lowbit.optimizers.native import descent, library
from lowbit.optimizers.native.layout import Numbers, Table, address, all_plain, all_plain_gradients

# Cells of a layer, as precondition.cpp reads them.
CELLS = 11
FLOAT = 4


@dataclass(frozen=True)
class Parameters:
    """The parameters of layers: all weights, then the biases that have a gradient, with what belongs to each."""

    values: list[torch.Tensor]
    grads: list[torch.Tensor]
    momenta: list[descent.Momentum]
    # Which layer, and which parameter group.
    layers: list[int]
    groups: list[int]


@dataclass(frozen=True)
class Statistics:
    """The vectors of layers, their numbers of curvature blocks, and the factors of weight gradients that are known."""

    a: list[torch.Tensor]
    g: list[torch.Tensor]
    blocks: list[int]
    factors: list[Factors | None]


class _Plan(NamedTuple):
    """What the calls take for certain parameters and sizes."""

    of: list[int]
    sums: Table
    parts: Table
    # The parameters, group by group, and (group, first, count) of each group.
    order: list[int]
    stretches: list[tuple[int, int, int]]
    # Bytes before each layer's column, and numbers in all columns.
    places: list[int]
    length: int
    # What is written to; it stays there while the plan holds it.
    changed: list[torch.Tensor]


class LayerSteps:
    """Preconditions layers and descends along them."""

    def __init__(self) -> None:
        self._plan: _Plan | None = None

    def __call__(
        self,
        parameters: Parameters,
        statistics: Statistics,
        rates: Sequence[Rates],
        damping: float,
        kl_clip: float | None,
    ) -> None:
        """Updates parameters and momentum in place; gradients stay as they are.

        `rates` are those of the parameter groups. Takes what `fits` says. Raises RuntimeError for statistics and
        momentum that are not those of their layers.
        """
        plan = self._planned(parameters, statistics)
        count = len(statistics.a)
        columns = torch.empty(plan.length)
        scale = torch.empty(())
        known = [(None, None) if known is None or not all_plain(known) else known for known in statistics.factors]
        grads = list(map(torch.Tensor.data_ptr, parameters.grads))
        a = list(map(torch.Tensor.data_ptr, statistics.a))
        beginning = columns.data_ptr()
        begins = [beginning + place for place in plan.places]
        biases = dict(zip(parameters.layers[count:], grads[count:], strict=True))
        plan.sums.fill(CELLS, {
            0: grads[:count], 1: [biases.get(at, 0) for at in range(count)], 2: a,
            3: list(map(torch.Tensor.data_ptr, statistics.g)), 4: [address(inputs) for inputs, _ in known],
            5: [address(outputs) for _, outputs in known], 6: begins,
            10: [0 if inputs is None else len(inputs) for inputs, _ in known],
        })  # fmt: skip
        lrs = [rates[group].lr for group in parameters.groups[:count]]
        library.call(
            "precondition", plan.sums.address, count, Numbers(lrs).address, damping,
            -1.0 if kl_clip is None else kl_clip, scale.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        layers = parameters.layers
        plan.parts.fill(descent.CELLS, {
            1: [grads[at] for at in plan.order], 5: [begins[layers[at]] for at in plan.order],
            6: [a[at] if at < count else 0 for at in plan.order],
        })  # fmt: skip
        for group, first, number in plan.stretches:
            descent.call(plan.parts.row(descent.CELLS, first), number, scale, rates[group])
        # Whoever has saved one of them for a backward pass must hear that it has changed.
        torch.autograd.graph.increment_version(plan.changed)

    def _planned(self, parameters: Parameters, statistics: Statistics) -> _Plan:
        values, grads, momenta = parameters.values, parameters.grads, parameters.momenta
        kept = [tensor for momentum in momenta for tensor in momentum]
        of = [
            *chain(*(map(id, tensors) for tensors in (values, kept))),
            *chain(*(map(torch.Tensor.data_ptr, tensors) for tensors in (values, kept))),
            *chain(*(map(torch.Tensor.numel, of) for of in (values, grads, statistics.a, statistics.g))),
            *parameters.layers, *parameters.groups, *statistics.blocks,
        ]  # fmt: skip
        if self._plan is None or self._plan.of != of:
            self._plan = _plan(of, parameters, statistics)
        return self._plan
