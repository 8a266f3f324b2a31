"""F8Net's layers: weights and inputs of 8 bits in fixed point, trained as they are deployed (arXiv 2202.05239).

Stage CALIBRATION computes in float and finds fraction lengths; QAT folds the batch norm by double forward
(section 4.2); VALIDATION computes what the integer model computes, exactly, in fp64 where fp32 would round.

Two things differ from the published code. It measures the spread of an input in units of the scaling,
2^fl alpha / 255, and so finds another fraction length whenever it changes its own: where alpha is above 7.3 standard
deviations of unsigned values, the length drifts to 8, below 3.6 to 0. Here the spread is that of real values. And where
unsigned values do not come straight from a ReLU, their spread is their root mean square, for which section 4.1 has a
constant of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from lowbit.quantization.f8net_stream import Stream
from lowbit.quantization.fixed_point import (
    FORMULA_WORD_LENGTH,
    Metric,
    bounds,
    effective_weight,
    fix_quant,
    fraction_length_by_formula,
    fraction_length_by_search,
    fraction_lengths_by_search,
)
from lowbit.quantization.kbit_layers import compute
from lowbit.quantization.stage import Stage, Staged

Fraction = Literal["formula", "search"]
BIAS_WORD_LENGTH = 32
# Every whole number below it is one of fp32, and so is every sum of such numbers that stays below it.
EXACT = 2**24


@dataclass(frozen=True, kw_only=True)
class Source:
    """How a layer reads its stream.

    `rectified`: the layer is given what goes into the ReLU before it; rounding to unsigned numbers is that ReLU, and
    the spread is the one before it. `ceiling` is where such values stop, if the ReLU has one; where a stream clips, its
    alpha takes over from it. `factor` is what pooling left over.
    """

    reader: int = 0
    rectified: bool = False
    ceiling: float | None = None
    factor: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Folded:
    """What a layer multiplies in VALIDATION: fp64 numbers on the grids of their fraction lengths, which are int32."""

    weight: torch.Tensor
    weight_length: torch.Tensor
    bias: torch.Tensor
    input_length: torch.Tensor

    @property
    def codes(self) -> torch.Tensor:
        """The weight's integers, still as fp64."""
        return self.weight * torch.exp2(along(self.weight_length, self.weight, 0))


class FixedLayer(Staged):
    """A convolution or linear layer of 8 bits, and the batch norm behind it, which is folded into its weight.

    It reads one stream and writes another; the last layer, which writes none, gives real numbers. The weight's
    fraction length, one for each output channel, is found anew in each forward.
    """

    quantizes_weight = True

    def __init__(
        self,
        layer: nn.Conv2d | nn.Linear,
        norm: nn.BatchNorm1d | nn.BatchNorm2d | None,
        stream: Stream,
        target: Stream | None,
        *,
        source: Source,
        fraction: Fraction,
    ) -> None:
        super().__init__()
        self.layer, self.norm, self.stream, self.target = layer, norm, stream, target
        self.source, self.fraction = source, fraction
        self.metric: Metric = "std" if source.rectified or stream.signed else "rms"
        self.bias = layer.bias
        layer.bias = None
        if norm is not None and self.bias is not None:
            # A batch norm takes a bias away again: only its running mean knows of it.
            assert norm.running_mean is not None
            norm.running_mean -= self.bias.detach()
            self.bias = None

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Runs the layer with the batch norm behind it, and the ReLU before it if read through; shapes are its own."""
        if self.stage is Stage.QAT:
            return self._trained(values)
        return self._calibrated(values) if self.stage is Stage.CALIBRATION else self._validated(values)

    def folded(self) -> Folded:
        """Returns the weight and bias of VALIDATION, batch norm and all."""
        with torch.no_grad():
            exact = self.layer.weight.to(torch.float64) * self.source.factor
            mean, variance = (None, None) if self.norm is None else (self.norm.running_mean, self.norm.running_var)
            exact, bias = self._folded(exact, mean, variance)
            weight_length, input_length = self._weight_length(exact), self.stream.length(self.source.reader)
            return Folded(
                weight=fix_quant(exact, along(weight_length, exact, 0), signed=True),
                weight_length=weight_length,
                bias=fix_quant(bias, weight_length + input_length, BIAS_WORD_LENGTH, signed=True),
                input_length=input_length,
            )

    def _calibrated(self, values: torch.Tensor) -> torch.Tensor:
        self.stream.observe(self.source.reader, self._length(values))
        if self.source.rectified:
            values = functional.relu(self._below_ceiling(values))
        result = compute(self.layer, values, self.layer.weight, self.bias)
        normed: torch.Tensor = result if self.norm is None else self.norm(result)
        return normed

    def _trained(self, values: torch.Tensor) -> torch.Tensor:
        scaling = self.stream.scaling(self.source.reader)
        length = self._length(values, self.stream.scaling() * self.source.factor)
        rounded = self._rounded(values, length)
        weight = self.layer.weight * self.source.factor
        mean = variance = None
        if self.norm is not None:
            plain = compute(self.layer, rounded, weight * scaling, None)
            with torch.no_grad():
                self.norm(plain)
            variance, mean = torch.var_mean(plain, [0, *range(2, plain.dim())], correction=0)
        weight, bias = self._folded(weight, mean, variance)
        weight = fix_quant(weight, along(self._weight_length(weight.detach()), weight, 0), signed=True)
        result = compute(self.layer, rounded, weight, bias)
        # Only now: all of this batch was scaled by the fraction length before it.
        self.stream.observe(self.source.reader, length)
        return result if self.target is not None else result * scaling

    def _validated(self, values: torch.Tensor) -> torch.Tensor:
        parts = self.folded()
        dtype = exact_dtype(parts.codes, bounds(FORMULA_WORD_LENGTH, signed=self.stream.signed)[1])
        rounded = self._rounded(values, parts.input_length)
        result = compute(self.layer, rounded.to(dtype), parts.weight.to(dtype), None).to(torch.float64)
        result = result + along(parts.bias, result, 1)
        if self.target is not None:
            return result
        return (result * self.stream.scaling(self.source.reader, torch.float64)).to(self.layer.weight.dtype)

    def _folded(
        self, weight: torch.Tensor, mean: torch.Tensor | None, variance: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns effective weight and bias (eq. 8), in the dtype of the weight; the last layer's weight is its own."""
        dtype, norm = weight.dtype, self.norm
        own = self.stream.scaling(self.source.reader, dtype)
        following = own if self.target is None else self.target.scaling(dtype=dtype)
        one, zero = weight.new_ones(len(weight)), weight.new_zeros(len(weight))
        if norm is None:
            bias = zero if self.bias is None else self.bias.to(dtype)
            return effective_weight(weight, one, one, own, following), bias / following
        assert mean is not None
        assert variance is not None
        gamma, beta = (norm.weight.to(dtype), norm.bias.to(dtype)) if norm.affine else (one, zero)
        deviation = (variance.to(dtype) + norm.eps).sqrt()
        bias = beta - gamma / deviation * mean.to(dtype)
        return effective_weight(weight, gamma, deviation, own, following), bias / following

    def _rounded(self, values: torch.Tensor, length: torch.Tensor | int) -> torch.Tensor:
        if len(self.stream.running) > 1:
            values = values * torch.exp2(self.stream.places(self.source.reader))
        if self.stream.alpha is None:
            values = self._below_ceiling(values)
        return fix_quant(values, length, signed=self.stream.signed)

    def _below_ceiling(self, values: torch.Tensor) -> torch.Tensor:
        return values if self.source.ceiling is None else values.clamp(max=self.source.ceiling)

    def _length(self, values: torch.Tensor, unit: torch.Tensor | float = 1.0) -> torch.Tensor | int:
        signed = self.stream.signed
        with torch.no_grad():
            if self.fraction == "search":
                return fraction_length_by_search(self._below_ceiling(values * unit), signed=signed)
            spread = (values.std() if self.metric == "std" else values.square().mean().sqrt()) * unit
            return fraction_length_by_formula(spread, signed=signed, metric=self.metric)

    def _weight_length(self, weight: torch.Tensor) -> torch.Tensor:
        if self.fraction == "search":
            return fraction_lengths_by_search(weight, signed=True)
        # A channel may have few weights, or only one: its mean counts as much as its deviation.
        return fraction_length_by_formula(weight.flatten(1).square().mean(1).sqrt(), signed=True, metric="rms")


def exact_dtype(codes: torch.Tensor, largest: int) -> torch.dtype:
    """Returns the dtype in which products of a weight's integers with inputs up to `largest` are summed exactly.

    fp32 on the host where no partial sum can leave its whole numbers, else fp64; on other devices always fp64, since
    their convolutions may compute by transforms that round.
    """
    sums = codes.abs().flatten(1).sum(1) * largest
    return torch.float32 if codes.device.type == "cpu" and bool((sums < EXACT).all()) else torch.float64


def along(part: torch.Tensor, values: torch.Tensor, dimension: int) -> torch.Tensor:
    """Returns one number a channel in a shape that is broadcast along a dimension of `values`."""
    return part.view([-1 if each == dimension else 1 for each in range(values.dim())])
