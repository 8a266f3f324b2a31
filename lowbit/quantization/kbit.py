"""Simulated quantization to 2 to 8 bits, after training or while it goes on, and the integers that come of it.

A model that is prepared has a quantizer for the input and one for the weight of each layer. One function gives the
scale, while training and for the integers, so that both agree bit for bit: torch's own flows do not (pytorch#88800).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from lowbit.quantization.affine import Grid, dequantize, fake_quantize, grid, quantize, scale_and_zero_point
from lowbit.quantization.ranges import Histogram, MinMax, MovingAverage
from lowbit.quantization.stage import Stage, Staged

Range = Literal["min-max", "moving-average", "histogram"]
LAYERS = (nn.Conv2d, nn.Linear)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How layers are quantized.

    Weights are signed and symmetric, by output channel or for the whole tensor; activations are affine unless
    `symmetric_activations`. `reduce_range` gives up one bit of the activations. The first and the last layer stay in
    float unless `first_and_last`: what enters and leaves a network suffers most, and sources disagree.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    per_channel: bool = True
    symmetric_activations: bool = False
    activation_range: Range = "moving-average"
    reduce_range: bool = False
    first_and_last: bool = False


class Quantizer(Staged):
    """Observes a range and rounds to a grid, as the stage says."""

    def __init__(self, grid: Grid, observer: MinMax, *, symmetric: bool) -> None:
        super().__init__()
        self.grid, self.observer, self.symmetric = grid, observer, symmetric
        # The range that scale and zero point were last derived from, and these: searching for them may take long.
        self._derived: tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None

    def parameters_of(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns scale and zero point for what was observed; one for each channel, or one."""
        seen = (self.observer.low, self.observer.high)
        if self._derived is None or any(new is not old for new, old in zip(seen, self._derived[0], strict=True)):
            low, high = self.observer.range(self.grid, symmetric=self.symmetric)
            self._derived = (seen, scale_and_zero_point(low, high, self.grid, symmetric=self.symmetric))
        return self._derived[1]

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the values, rounded where the stage rounds."""
        if self.stage.observes:
            self.observer.observe(values)
        if not self.stage.rounds:
            return values
        scale, zero_point = (_along(part, values, self.observer.channel) for part in self.parameters_of())
        return fake_quantize(values, scale, zero_point, self.grid)


class WeightQuantizer(Quantizer):
    """Rounds a weight by its range of the moment: the weight moves while it is trained, and is never unknown."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the weight, rounded where the stage rounds."""
        if not self.stage.rounds:
            return values
        fresh = MinMax(self.observer.channel)
        fresh.observe(values)
        self.observer.low, self.observer.high = fresh.low, fresh.high
        scale, zero_point = (_along(part, values, self.observer.channel) for part in self.parameters_of())
        return fake_quantize(values, scale, zero_point, self.grid)


class QuantizedLayer(nn.Module):
    """A convolution or linear layer with quantizers before its input and its weight."""

    def __init__(self, layer: nn.Conv2d | nn.Linear, settings: Settings) -> None:
        super().__init__()
        self.layer = layer
        channel = 0 if settings.per_channel else None
        self.weight_quantizer = WeightQuantizer(
            grid(settings.weight_bits, signed=True, symmetric=True), MinMax(channel), symmetric=True
        )
        self.input_quantizer = Quantizer(
            grid(settings.activation_bits, signed=False, reduce_range=settings.reduce_range),
            _observer(settings.activation_range),
            symmetric=settings.symmetric_activations,
        )

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Runs the layer on rounded input with a rounded weight."""
        return compute(self.layer, self.input_quantizer(values), self.weight_quantizer(self.layer.weight))


class IntegerLayer(nn.Module):
    """A layer whose weight is stored as integers of one byte, with their scales; it computes in float.

    The input is rounded by the range that was learned. What it gives is what the quantized layer gave in VALIDATION.
    """

    codes: torch.Tensor
    scale: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, source: QuantizedLayer) -> None:
        super().__init__()
        weight = source.layer.weight.detach()
        quantizer = source.weight_quantizer
        quantizer.stage = Stage.VALIDATION
        quantizer(weight)
        scale, zero_point = (_along(part, weight, quantizer.observer.channel) for part in quantizer.parameters_of())
        self.register_buffer("codes", quantize(weight, scale, zero_point, quantizer.grid))
        self.register_buffer("scale", scale)
        self.register_buffer("zero_point", zero_point)
        self.input_quantizer = copy.deepcopy(source.input_quantizer)
        self.input_quantizer.stage = Stage.VALIDATION
        # The layer without its float weight: its bias and its geometry.
        self.layer = copy.deepcopy(source.layer)
        del self.layer.weight

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Runs the layer on rounded input with the weight that the integers stand for."""
        weight = dequantize(self.codes, self.scale, self.zero_point)
        return compute(self.layer, self.input_quantizer(values), weight)


def prepare(module: nn.Module, settings: Settings | None = None) -> nn.Module:
    """Replaces the layers of a model by quantized ones, in place, and returns it, in stage CALIBRATION.

    Raises ValueError for a model without a layer to quantize.
    """
    settings = settings or Settings()
    names = [name for name, child in module.named_modules() if type(child) in LAYERS]
    chosen = names if settings.first_and_last else names[1:-1]
    if not chosen:
        raise ValueError(
            f"{type(module).__name__} has {len(names)} layers of type Conv2d or Linear and none between the first and "
            "the last; set first_and_last to quantize those too"
        )
    for name in chosen:
        layer = module.get_submodule(name)
        assert isinstance(layer, LAYERS)
        module.set_submodule(name, QuantizedLayer(layer, settings))
    return module


def convert(module: nn.Module) -> nn.Module:
    """Replaces quantized layers by layers of integers, in place, and returns the model in eval mode.

    Raises ValueError for an input whose range was never observed.
    """
    for name, child in list(module.named_modules()):
        if isinstance(child, QuantizedLayer):
            try:
                child.input_quantizer.parameters_of()
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            module.set_submodule(name, IntegerLayer(child))
    return module.eval()


def compute(layer: nn.Module, values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Runs a layer with another weight in place of its own."""
    if isinstance(layer, nn.Conv2d):
        if layer.padding_mode != "zeros":
            raise ValueError(f"padding_mode={layer.padding_mode!r}: only zeros are quantized")
        return functional.conv2d(values, weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    assert isinstance(layer, nn.Linear)
    return functional.linear(values, weight, layer.bias)


def _observer(kind: Range) -> MinMax:
    kinds: dict[Range, type[MinMax]] = {"min-max": MinMax, "moving-average": MovingAverage, "histogram": Histogram}
    return kinds[kind]()


def _along(part: torch.Tensor, values: torch.Tensor, channel: int | None) -> torch.Tensor:
    if channel is None:
        return part
    return part.view([-1 if dimension == channel else 1 for dimension in range(values.dim())])
