"""The layers of DoReFa-Net: while it is trained, and with codes of few bits when it is deployed."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lowbit.quantization.dorefa import (
    FULL,
    decode_weight,
    encode_weight,
    quantize_activation,
    quantize_gradient,
    quantize_weight,
)
from lowbit.quantization.kbit_layers import compute
from lowbit.quantization.stage import Stage, Staged

FIRST_AND_LAST = "DoReFa-Net leaves the first and the last layer in float, as published"


@dataclass(frozen=True, kw_only=True)
class Bits:
    """Bits of weights, activations and gradients: 1 to 8, or 32 for float."""

    weight: int
    activation: int
    gradient: int


class GradientQuantizer(Staged):
    """Lets values pass, and rounds their gradient, in stage QAT only.

    It owns the generator of its noise: copies of it go on alike, its state is saved with the model's, and on another
    device it starts again from its seed.
    """

    def __init__(self, bits: int, seed: int) -> None:
        super().__init__()
        self.bits, self.seed = bits, seed
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the values themselves."""
        if self.stage is not Stage.QAT or self.bits == FULL:
            return values
        if self.generator.device != values.device:
            self.generator = torch.Generator(values.device).manual_seed(self.seed)
        return quantize_gradient(values, self.bits, self.generator)

    def get_extra_state(self) -> dict[str, Any]:
        """Returns what of the generator is saved."""
        return {"device": str(self.generator.device), "state": self.generator.get_state()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Takes the generator to where it was saved."""
        self.generator = torch.Generator(state["device"])
        self.generator.set_state(state["state"].cpu())


class QuantizedLayer(Staged):
    """A convolution or linear layer with a weight, an input and a gradient of few bits, in stages that round.

    `quantizes_input` says whether its input, which has no negative value then, is rounded.
    """

    def __init__(
        self, layer: nn.Conv2d | nn.Linear, bits: Bits, gradient: GradientQuantizer, *, quantizes_input: bool
    ) -> None:
        super().__init__()
        self.layer, self.bits, self.gradient = layer, bits, gradient
        self.quantizes_input = quantizes_input
        self.quantizes_weight = bits.weight != FULL
        self.left_in_float = FIRST_AND_LAST if self.quantizes_weight else "weights of 32 bits are float: give 1 to 8"

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Runs the layer; shapes are its own."""
        weight = self.layer.weight
        if self.stage.rounds:
            weight = quantize_weight(weight, self.bits.weight)
            values = quantize_activation(values, self.bits.activation) if self.quantizes_input else values
        return self.gradient(compute(self.layer, values, weight, self.layer.bias))  # type: ignore[no-any-return] # a module's call is untyped


class IntegerLayer(nn.Module):
    """A layer whose weight is stored as codes, one byte each, and one number that they reach to; it computes in float.

    What it gives is, bit for bit, what the quantized layer gave in VALIDATION.
    """

    quantizes_weight = True
    left_in_float = FIRST_AND_LAST

    codes: torch.Tensor
    reach: torch.Tensor

    def __init__(self, source: QuantizedLayer) -> None:
        super().__init__()
        self.bits, self.quantizes_input = source.bits, source.quantizes_input
        codes, reach = encode_weight(source.layer.weight, source.bits.weight)
        self.register_buffer("codes", codes)
        self.register_buffer("reach", reach)
        # The layer without its float weight: its bias and its geometry.
        self.layer = copy.deepcopy(source.layer)
        del self.layer.weight

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Runs the layer on rounded input with the weight that the codes stand for."""
        if self.quantizes_input:
            values = quantize_activation(values, self.bits.activation)
        return compute(self.layer, values, decode_weight(self.codes, self.reach, self.bits.weight), self.layer.bias)
