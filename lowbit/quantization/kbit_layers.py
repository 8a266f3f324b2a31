"""Layers with quantizers for their input and their weight, and the layers of integers that come of them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

from lowbit.quantization.affine import Grid, dequantize, fake_quantize, grid, quantize, scale_and_zero_point
from lowbit.quantization.flow import QuantizationError
from lowbit.quantization.ranges import Histogram, MinMax, MovingAverage
from lowbit.quantization.stage import Stage, Staged

Range = Literal["min-max", "moving-average", "histogram"]
LAYERS = (nn.Conv2d, nn.Linear)
WIDE = Grid(-(2**31), 2**31 - 1)
_FIRST_AND_LAST = (
    "k-bit flows leave the first and the last layer in float, where sources disagree; -all-layers at the end of the "
    "name takes them too"
)
_OTHERS = "k-bit flows take every Conv2d and Linear that no setting of its own leaves in float"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How layers are quantized.

    Weights are signed and symmetric, by output channel or for the whole tensor; activations are affine unless
    `symmetric_activations`. `reduce_range` gives up one bit of the activations. The first and the last layer stay in
    float unless `first_and_last`: what enters and leaves a network suffers most, and sources disagree. With
    `wide_output` the bias is rounded to 32 bits at the scale of input times weight, so that what the layer gives is
    whole numbers of 32 bits times that scale: the high-precision output of a network's last layer.

    Raises QuantizationError for bits that are not from 2 to 8.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    per_channel: bool = True
    symmetric_activations: bool = False
    activation_range: Range = "moving-average"
    reduce_range: bool = False
    first_and_last: bool = False
    wide_output: bool = False

    def __post_init__(self) -> None:
        try:
            self.weight_grid()
            self.activation_grid()
        except ValueError as error:
            raise QuantizationError(str(error)) from error

    def weight_grid(self) -> Grid:
        """The integers of a weight."""
        return grid(self.weight_bits, signed=True, symmetric=True)

    def activation_grid(self) -> Grid:
        """The integers of an input."""
        return grid(self.activation_bits, signed=False, reduce_range=self.reduce_range)


class Quantizer(Staged):
    """Observes a range and rounds to a grid, as the stage says."""

    def __init__(self, grid: Grid, observer: MinMax, *, symmetric: bool) -> None:
        super().__init__()
        self.grid, self.observer, self.symmetric = grid, observer, symmetric
        # The range that scale and zero point were last derived from, and these: searching for them may take long.
        self._derived: tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]] | None = None

    def parameters_of(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns scale and zero point for what was observed; one for each channel, or one.

        Raises QuantizationError for a range that is not finite.
        """
        seen = (self.observer.low, self.observer.high)
        if self._derived is None or any(new is not old for new, old in zip(seen, self._derived[0], strict=True)):
            low, high = self.observer.range(self.grid, symmetric=self.symmetric)
            try:
                self._derived = (seen, scale_and_zero_point(low, high, self.grid, symmetric=self.symmetric))
            except ValueError as error:
                raise QuantizationError(str(error)) from error
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
    """A convolution or linear layer with quantizers before its input and its weight.

    The state of the float layer that it was made of loads into it unchanged; its quantizers then stay as they are.
    """

    # What counts quantized layers need not know whose they are.
    quantizes_weight = True

    def __init__(self, layer: nn.Conv2d | nn.Linear, settings: Settings) -> None:
        super().__init__()
        self.layer = layer
        # What counts quantized layers reads here why others are none.
        self.left_in_float = _OTHERS if settings.first_and_last else _FIRST_AND_LAST
        channel = 0 if settings.per_channel else None
        self.weight_quantizer = WeightQuantizer(settings.weight_grid(), MinMax(channel), symmetric=True)
        self.input_quantizer = Quantizer(
            settings.activation_grid(),
            _observer(settings.activation_range),
            symmetric=settings.symmetric_activations,
        )
        self.wide_output = settings.wide_output

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Runs the layer on rounded input with a rounded weight."""
        values, weight = self.input_quantizer(values), self.weight_quantizer(self.layer.weight)
        bias = self.layer.bias
        if bias is not None and self.wide_output and self.input_quantizer.stage.rounds:
            scale = self.output_scale()
            wide = fake_quantize(bias.to(torch.float64), scale, torch.zeros_like(scale, dtype=torch.int32), WIDE)
            bias = wide.to(bias.dtype)
        return compute(self.layer, values, weight, bias)

    def output_scale(self) -> torch.Tensor:
        """Returns what one unit of the output's integers stands for, in fp64; one for each channel, or one."""
        return self.input_quantizer.parameters_of()[0].double() * self.weight_quantizer.parameters_of()[0].double()

    def _load_from_state_dict(self, state_dict: dict[str, torch.Tensor], prefix: str, *rest: Any) -> None:
        if prefix + "weight" in state_dict:
            for name, _ in self.layer.named_parameters():
                if prefix + name in state_dict:
                    state_dict[f"{prefix}layer.{name}"] = state_dict.pop(prefix + name)
            own = self.state_dict(prefix=prefix)
            state_dict |= {name: value for name, value in own.items() if "_quantizer." in name[len(prefix) :]}
        super()._load_from_state_dict(state_dict, prefix, *rest)


class IntegerLayer(nn.Module):
    """A layer whose weight is stored as integers of one byte, with their scales; it computes in float.

    The input is rounded by the range that was learned. What it gives is what the quantized layer gave in VALIDATION.
    """

    quantizes_weight = True

    codes: torch.Tensor
    scale: torch.Tensor
    zero_point: torch.Tensor
    bias_codes: torch.Tensor | None
    output_scale: torch.Tensor | None

    def __init__(self, source: QuantizedLayer) -> None:
        super().__init__()
        self.left_in_float = source.left_in_float
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
        output_scale, codes = None, None
        if source.wide_output:
            output_scale = source.output_scale()
            if source.layer.bias is not None:
                bias = source.layer.bias.detach().to(torch.float64)
                codes = quantize(bias, output_scale, torch.zeros_like(output_scale, dtype=torch.int32), WIDE)
                self.layer.bias = None
        self.register_buffer("bias_codes", codes)
        self.register_buffer("output_scale", output_scale)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Runs the layer on rounded input with the weight that the integers stand for."""
        weight, bias = dequantize(self.codes, self.scale, self.zero_point), self.layer.bias
        if self.bias_codes is not None and self.output_scale is not None:
            zero = torch.zeros_like(self.output_scale, dtype=torch.int32)
            bias = dequantize(self.bias_codes, self.output_scale, zero).to(weight.dtype)
        return compute(self.layer, self.input_quantizer(values), weight, bias)


def check_padding(name: str, layer: nn.Module) -> None:
    """Raises QuantizationError for a convolution that `compute` cannot run, by its name in the model."""
    mode = getattr(layer, "padding_mode", "zeros")
    if mode != "zeros":
        raise QuantizationError(
            f"{name}: padding_mode={mode!r}, only zeros are quantized; train it with zeros, or leave it in float, as a "
            f"k-bit flow does with --setting {name}=float"
        )


def compute(layer: nn.Module, values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Runs a layer with another weight and bias in place of its own."""
    if isinstance(layer, nn.Conv2d):
        if layer.padding_mode != "zeros":
            raise QuantizationError(f"padding_mode={layer.padding_mode!r}: only zeros are quantized; leave it in float")
        return functional.conv2d(values, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)
    assert isinstance(layer, nn.Linear)
    return functional.linear(values, weight, bias)


def _observer(kind: Range) -> MinMax:
    kinds: dict[Range, type[MinMax]] = {"min-max": MinMax, "moving-average": MovingAverage, "histogram": Histogram}
    return kinds[kind]()


def _along(part: torch.Tensor, values: torch.Tensor, channel: int | None) -> torch.Tensor:
    if channel is None:
        return part
    return part.view([-1 if dimension == channel else 1 for dimension in range(values.dim())])
