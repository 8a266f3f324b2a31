"""A pass of a layer through forward, of which backward is awaited."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from lowbit.optimizers import small_layers
from lowbit.optimizers.small_layers import Layer

if TYPE_CHECKING:
    from lowbit.optimizers.curvature import Capture


class Passed:
    """A pass of a layer whose output's gradient is awaited: a hook on what has made the output, which keeps it."""

    __slots__ = ("__weakref__", "_capture", "a", "elements", "factored", "inputs", "layer", "name", "summed", "version")

    def __init__(self, capture: Capture, name: str, layer: Layer, output: torch.Tensor) -> None:
        # It does not hold the optimizer, nor does the model through it.
        self._capture = weakref.ref(capture)
        self.name, self.layer = name, layer
        # Of the gradient, if its vector is taken together with those of others.
        self.elements = output.numel() if small_layers.batched(layer, output) else 0
        self.elements = self.elements if self.elements <= capture.largest else 0
        # The mean input, and the inputs as long as they are needed.
        self.a: torch.Tensor | None = None
        self.inputs: torch.Tensor | None = None
        # Of the inputs of a pass without a hook: how often they had been written to.
        self.version = 0
        # Whether the weight's gradient is known by its factors, or by sums of its rows.
        self.factored = self.summed = False

    def __call__(self, gradients: Sequence[torch.Tensor | None]) -> None:
        """Gives the gradient to the capture."""
        capture, gradient = self._capture(), gradients[0]
        if capture is not None and capture.active and gradient is not None:
            capture.receive(self, gradient)
