"""What passes between F8Net's layers, the way into it, and pooling (Jin et al., arXiv 2202.05239).

A stream is a value that layers write and others read, together with all that is added to it: it has one PACT clip,
alpha. Every reader rounds it to numbers of 8 bits with a fraction length of its own; the unit of the stream is the
scaling of its first reader, and another's differs from that by a power of two, which is a shift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from lowbit.quantization.fixed_point import (
    FORMULA_WORD_LENGTH,
    fix_quant,
    fix_scaling,
    most_fraction,
    running_fraction_length,
)
from lowbit.quantization.flow import QuantizationError
from lowbit.quantization.stage import Stage, Staged

START_ALPHA = 8.0
# The published format of inputs is [8, 6]: from there the running average sets out.
START_FRACTION = 6.0


class Stream(Staged):
    """A clip and, for each reader, a fraction length.

    Without `clips` every scaling is 1 and nothing is trained, as in the published "tiny finetuning".
    """

    running: torch.Tensor
    seen: torch.Tensor

    def __init__(self, readers: int, *, signed: bool, clips: bool, alpha: float = START_ALPHA) -> None:
        super().__init__()
        self.signed = signed
        self.alpha = nn.Parameter(torch.tensor(alpha)) if clips else None
        self.register_buffer("running", torch.full((readers,), START_FRACTION))
        self.register_buffer("seen", torch.zeros(readers))

    def length(self, reader: int = 0) -> torch.Tensor:
        """Returns the fraction length of a reader: the running average, rounded; a number, int32."""
        most = most_fraction(FORMULA_WORD_LENGTH, signed=self.signed)
        return self.running[reader].round().clamp(0, most).to(torch.int32)

    def scaling(self, reader: int = 0, dtype: torch.dtype | None = None) -> torch.Tensor:
        """Returns what one of a reader's numbers stands for (eq. 5), in the dtype of alpha if none is given."""
        if self.alpha is None:
            return torch.ones((), dtype=dtype or self.running.dtype, device=self.running.device)
        return fix_scaling(self.alpha.to(dtype or self.alpha.dtype), self.length(reader), signed=self.signed)

    def places(self, reader: int) -> torch.Tensor:
        """Returns by how many places numbers of the stream are shifted left to be the reader's; int32."""
        return torch.zeros_like(self.length()) if self.alpha is None else self.length() - self.length(reader)

    def observe(self, reader: int, length: torch.Tensor | int) -> None:
        """Takes in the fraction length of a batch: into a plain mean while calibrating, into a moving one later."""
        with torch.no_grad():
            before = self.running[reader].clone()
            if self.stage is Stage.CALIBRATION:
                self.seen[reader] += 1
                self.running[reader] = before + (length - before) / self.seen[reader]
            else:
                self.running[reader] = running_fraction_length(before, torch.as_tensor(length))
                # Training finds lengths as well: what was trained needs no calibration.
                self.seen[reader].clamp_(min=1)


class Entry(Staged):
    """Takes a model's input, [batch, channels, ...], into its stream."""

    def __init__(self, stream: Stream, channels: int) -> None:
        super().__init__()
        self.stream, self.channels = stream, channels

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the input itself in CALIBRATION, in units of the stream in QAT; in VALIDATION rounded, in fp64."""
        if self.stage is Stage.CALIBRATION:
            return values
        if self.stage is Stage.QAT:
            return values / self.stream.scaling()
        wide = values.to(torch.float64) / self.stream.scaling(dtype=torch.float64)
        return fix_quant(wide, self.stream.length(), signed=self.stream.signed)


class Average(Staged):
    """Average pooling as hardware does it: a sum and a shift by round(log2 k^2) places.

    What the shift leaves over, `factor`, the next layer's weight makes up for; in CALIBRATION it is a true average.
    Takes [batch, channels, height, width]; a `whole` one pools pictures of one size, that of its kernel, to one place.
    """

    def __init__(self, kernel: tuple[int, int], stride: tuple[int, int], *, whole: bool) -> None:
        super().__init__()
        self.kernel, self.stride, self.whole = kernel, stride, whole
        self.area = kernel[0] * kernel[1]
        self.places = round(math.log2(self.area))
        self.factor = self.area / 2**self.places

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns averages in CALIBRATION, shifted sums in other stages; raises as `check` does."""
        self.check(values)
        if self.stage is Stage.CALIBRATION:
            return functional.avg_pool2d(values, self.kernel, self.stride)
        sums = functional.avg_pool2d(values, self.kernel, self.stride, divisor_override=1)
        return sums / float(2**self.places)

    def check(self, values: torch.Tensor) -> None:
        """Raises QuantizationError for pictures of another size than those the model was prepared with."""
        if self.whole and tuple(values.shape[-2:]) != self.kernel:
            raise QuantizationError(
                f"pictures of {tuple(values.shape[-2:])} are pooled, and were of {self.kernel} when the model was "
                "prepared: prepare it with inputs of the size that it will see"
            )


class Flatten(nn.Module):
    """Flattens all but the batch; knows how many positions a channel has, of its shape [batch, channels, ...]."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.positions = math.prod(shape[2:])

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns [batch, features]."""
        return values.flatten(1)
