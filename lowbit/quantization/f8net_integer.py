"""F8Net with integers only: weights of one byte, biases and sums of 32 bits, and shifts between them.

Between entry and exit no number is anything but an integer. Only the products are summed in floating point: the
host's int32 convolution takes 3 to 10 times as long as that of fp32, which gives the same integers as long as no sum
can reach 2^24; where one can, fp64 does it. `exact_dtype` decides, by the weights.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import nn

from lowbit.quantization.f8net import FixedLayer, along, exact_dtype
from lowbit.quantization.f8net_stream import Average, Entry
from lowbit.quantization.fixed_point import FORMULA_WORD_LENGTH, bounds, shift_right, to_integers
from lowbit.quantization.kbit_layers import compute


@dataclass(frozen=True, kw_only=True)
class Wire:
    """What integers between layers stand for: fraction lengths, int64, and the most they can be, fp64; per channel."""

    length: torch.Tensor
    most: torch.Tensor

    def shifted(self, places: torch.Tensor) -> Wire:
        """Returns what they are after shifts to the left."""
        return Wire(length=self.length + places, most=self.most * torch.exp2(places.double()))

    @property
    def dtype(self) -> torch.dtype:
        """The integers that hold them."""
        return torch.int32 if bool((self.most < 2**31).all()) else torch.int64


class IntegerEntry(nn.Module):
    """Rounds a model's input to integers of 8 bits: the last that is done in floating point."""

    scaling: torch.Tensor
    length: torch.Tensor

    def __init__(self, source: Entry) -> None:
        super().__init__()
        self.signed = source.stream.signed
        self.register_buffer("scaling", source.stream.scaling(dtype=torch.float64).detach())
        self.register_buffer("length", source.stream.length())
        length = self.length.long().expand(source.channels)
        high = bounds(FORMULA_WORD_LENGTH, signed=self.signed)[1]
        self.wire = Wire(length=length, most=torch.full_like(length, high, dtype=torch.float64))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns int32 of the shape of `values`."""
        wide = values.to(torch.float64) / self.scaling
        return to_integers(wide, self.length, FORMULA_WORD_LENGTH, signed=self.signed).to(torch.int32)


class IntegerLayer(nn.Module):
    """A convolution or linear layer: shifts its input to 8 bits, multiplies by bytes, and adds a bias of 32 bits."""

    quantizes_weight = True

    codes: torch.Tensor
    bias: torch.Tensor
    places: torch.Tensor

    def __init__(self, source: FixedLayer, given: Wire) -> None:
        super().__init__()
        parts, reader, stream = source.folded(), source.source.reader, source.stream
        self.low, self.high = bounds(FORMULA_WORD_LENGTH, signed=stream.signed)
        self.ceiling = self.high
        if source.source.ceiling is not None and stream.alpha is None:
            self.ceiling = min(self.high, round(source.source.ceiling * 2 ** int(parts.input_length)))
        places = given.length - parts.input_length - stream.places(reader)
        length = parts.weight_length + parts.input_length
        self.register_buffer("places", places.to(torch.int32))
        self.register_buffer("codes", parts.codes.to(torch.int8))
        self.register_buffer("bias", (parts.bias * torch.exp2(length)).to(torch.int32))
        self.input_dtype = given.shifted(-places.clamp(max=0)).dtype
        self.dtype = exact_dtype(parts.codes, self.high)
        most = parts.codes.abs().flatten(1).sum(1) * self.high + self.bias.abs()
        self.wire = Wire(length=length.long(), most=most)
        self.output_dtype = self.wire.dtype
        # Of the last layer, what the exit behind it multiplies by: it says what the integers stand for.
        self.unit = _unit(source) if source.target is None else None
        self.real_dtype = torch.float64 if self.unit is None else source.layer.weight.dtype
        # The layer without its float weight: its geometry.
        self.layer = copy.deepcopy(source.layer)
        del self.layer.weight

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns int32, or int64 where that could overflow, of the layer's shape."""
        places = along(self.places, values, 1)
        values = shift_right(values.to(self.input_dtype), places).clamp(self.low, self.ceiling)
        dtype = self.dtype if values.device.type == "cpu" else torch.float64
        sums = compute(self.layer, values.to(dtype), self.codes.to(dtype), None).to(self.output_dtype)
        return sums + along(self.bias, sums, 1)

    def reals(self, output: torch.Tensor) -> torch.Tensor:
        """Returns what an output stands for, bit for bit what the simulated layer gives, and in its dtype."""
        return reals(output, self.wire.length, self.unit, self.real_dtype)


class IntegerSum(nn.Module):
    """Adds integers of unlike fraction lengths: shifts those of the shorter one to the left."""

    left: torch.Tensor
    right: torch.Tensor

    def __init__(self, one: Wire, other: Wire) -> None:
        super().__init__()
        length = torch.maximum(one.length, other.length)
        self.register_buffer("left", length - one.length)
        self.register_buffer("right", length - other.length)
        self.wire = Wire(length=length, most=one.shifted(self.left).most + other.shifted(self.right).most)
        self.dtype = self.wire.dtype

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Returns their sum, in the shape of both."""
        left, right = (along(part.to(self.dtype), one, 1) for part in (self.left, self.right))
        return (one.to(self.dtype) << left) + (other.to(self.dtype) << right)


class IntegerAverage(nn.Module):
    """Sums windows; the shift is one of the fraction length only."""

    def __init__(self, source: Average, given: Wire) -> None:
        super().__init__()
        self.source = source
        self.wire = Wire(length=given.length + source.places, most=given.most * source.area)
        self.dtype = self.wire.dtype

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns sums of the windows of [batch, channels, height, width]; raises as the simulated one does."""
        self.source.check(values)
        (height, width), (down, right) = self.source.kernel, self.source.stride
        windows = values.to(self.dtype).unfold(2, height, down).unfold(3, width, right)
        sums: torch.Tensor = windows.sum((-1, -2), dtype=self.dtype)
        return sums


class IntegerClamp(nn.Module):
    """A ReLU that stops at a whole number."""

    high: torch.Tensor

    def __init__(self, ceiling: int, given: Wire) -> None:
        super().__init__()
        self.register_buffer("high", torch.tensor(ceiling) << given.length)
        self.wire = given

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns integers of the shape of `values`."""
        return torch.minimum(values.clamp(min=0), along(self.high.to(values.dtype), values, 1))


class IntegerExit(nn.Module):
    """Makes real numbers of the last layer's integers; for the largest of them alone, none would be needed."""

    unit: torch.Tensor
    length: torch.Tensor

    def __init__(self, source: FixedLayer, given: Wire) -> None:
        super().__init__()
        self.register_buffer("unit", _unit(source))
        self.register_buffer("length", given.length)
        self.dtype = source.layer.weight.dtype

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns reals of the shape of `values`, in the dtype of the float model."""
        return reals(values, self.length, self.unit, self.dtype)


def reals(
    integers: torch.Tensor,
    length: torch.Tensor,
    unit: torch.Tensor | None = None,
    dtype: torch.dtype = torch.float64,
) -> torch.Tensor:
    """Returns what integers [batch, channels, ...] of one fraction length a channel stand for.

    Without a unit that they count in, it is exact in fp64.
    """
    exact = integers.to(torch.float64) / torch.exp2(along(length, integers, 1).double())
    return (exact if unit is None else exact * unit).to(dtype)


def _unit(last: FixedLayer) -> torch.Tensor:
    return last.stream.scaling(last.source.reader, torch.float64).detach()
