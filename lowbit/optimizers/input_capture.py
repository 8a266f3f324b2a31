"""Hooks that take the mean input of layers in forward, and nothing in backward."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from lowbit.optimizers.kronecker import input_vector
from lowbit.optimizers.layer_hook import LayerHook
from lowbit.optimizers.ranks import Exchange


class InputCapture:
    """Collects the mean input of layers between two steps of an optimizer.

    Every forward pass with gradients counts, with or without its backward pass; of several passes the mean is taken.
    A copy of the model, by deepcopy or by pickle, carries hooks that do nothing. With an `exchange` the means are those
    of all ranks: which forward pass is the last nobody knows before the step, so that they are sent then.
    """

    def __init__(self, layers: Mapping[str, nn.Module], samples: int, exchange: Exchange | None = None) -> None:
        self.layers = dict(layers)
        self.exchange = exchange
        self.samples = samples if exchange is None else exchange.share(samples)
        self.active = True
        self._sums: dict[str, tuple[torch.Tensor, int]] = {}
        self._handles: list[RemovableHandle] = [
            module.register_forward_hook(LayerHook(self, name, module, _watch), with_kwargs=True)
            for name, module in self.layers.items()
        ]

    def add(self, name: str, a: torch.Tensor) -> None:
        """Adds one pass of a layer."""
        found = self._sums.get(name)
        self._sums[name] = (a, 1) if found is None else (found[0] + a, found[1] + 1)

    def seen(self) -> set[str]:
        """Returns the layers of which `take` would return something."""
        return set(self._sums)

    def take(self) -> dict[str, torch.Tensor]:
        """Returns the mean input of each layer that ran, and forgets it."""
        means = self._means()
        self._sums = {}
        if self.exchange is None or not self.active:
            return means
        return {name: a for name, (a,) in self.exchange.finish(_as_vectors(means), self.layers).items()}

    def exchange_now(self) -> None:
        """Sends what was collected to the other ranks, and waits for theirs; `take` then returns the means of all."""
        if self.exchange is not None and self.active and self._sums:
            self.exchange.drop()
            self.exchange.begin(_as_vectors(self._means()), self.layers)
            self.exchange.wait()

    def _means(self) -> dict[str, torch.Tensor]:
        return {name: a if passes == 1 else a / passes for name, (a, passes) in self._sums.items()}

    def close(self) -> None:
        """Removes the hooks and what they collected."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._sums = [], {}


def _as_vectors(means: Mapping[str, torch.Tensor]) -> dict[str, tuple[torch.Tensor, ...]]:
    return {name: (a,) for name, a in means.items()}


def _watch(
    capture: InputCapture, name: str, module: nn.Linear | nn.Conv2d, given: torch.Tensor, _output: torch.Tensor
) -> None:
    capture.add(name, input_vector(module, given, capture.samples))
