"""Fixed-point numbers of 8 bits, scaled by powers of two: the arithmetic of F8Net (Jin et al., arXiv 2202.05239).

A number has a word length and a fraction length: its integer divided by two to the fraction length. Fraction lengths
may be tensors, one for each channel, in a shape that is broadcast.
"""

from __future__ import annotations

from typing import Any, Literal

import torch

from lowbit.quantization.flow import QuantizationError

Metric = Literal["std", "mae", "rms"]
# Section 4.1 and the published code: fraction length = floor(log2(c / metric)), by what the spread is measured with.
# The standard deviation of unsigned values is that of the values before the ReLU.
_SIGNED: dict[Metric, float] = {"std": 40.0, "mae": 30.0, "rms": 40.0}
_UNSIGNED: dict[Metric, float] = {"std": 70.0, "mae": 30.0, "rms": 50.0}
FORMULA_WORD_LENGTH = 8
# The running average of a fraction length keeps so much of what it was.
RUNNING = 0.9


def bounds(word_length: int, *, signed: bool) -> tuple[int, int]:
    """Returns the lowest and the highest integer: symmetric about zero if signed, from zero on otherwise.

    Raises QuantizationError for word lengths outside of 2 to 32; those above 24 need values in fp64.
    """
    if not 2 <= word_length <= 32:
        raise QuantizationError(f"word_length={word_length}: must be from 2 to 32")
    return (-(2 ** (word_length - 1) - 1), 2 ** (word_length - 1) - 1) if signed else (0, 2**word_length - 1)


def most_fraction(word_length: int, *, signed: bool) -> int:
    """Returns the largest fraction length: all bits, without the sign's."""
    return word_length - signed


def to_integers(
    values: torch.Tensor, fraction_length: torch.Tensor | int, word_length: int, *, signed: bool
) -> torch.Tensor:
    """Returns integers as floats of the same dtype: values times 2^fraction_length, rounded half to even, clamped."""
    low, high = bounds(word_length, signed=signed)
    return (values * _power(fraction_length, values)).round().clamp(low, high)


def fix_quant(
    values: torch.Tensor, fraction_length: torch.Tensor | int, word_length: int = FORMULA_WORD_LENGTH, *, signed: bool
) -> torch.Tensor:
    """Returns values as fixed-point numbers; the gradient passes where the integer is strictly inside the bounds.

    The published `fix_quant`: an integer at a bound has no gradient, whether it was clamped or not; for unsigned
    numbers that holds for zero too.
    """
    result: torch.Tensor = _FixQuant.apply(  # type: ignore[no-untyped-call]
        values, fraction_length, word_length, signed
    )
    return result


def fraction_length_by_formula(spread: torch.Tensor, *, signed: bool, metric: Metric = "std") -> torch.Tensor:
    """Returns fraction lengths, int32, for 8 bits from a measure of spread, each element by itself (section 4.1).

    A spread of zero gives the largest fraction length. Raises QuantizationError for a spread that is not finite.
    """
    if not bool(torch.isfinite(spread).all()):
        raise QuantizationError(f"the {metric} is not finite: the values hold NaN or an infinity, clean the data")
    constant = (_SIGNED if signed else _UNSIGNED)[metric]
    most = most_fraction(FORMULA_WORD_LENGTH, signed=signed)
    safe = spread.clamp(min=torch.finfo(spread.dtype).tiny)
    return torch.floor(torch.log2(constant / safe)).clamp(0, most).to(torch.int32)


def fraction_length_by_search(values: torch.Tensor, word_length: int = FORMULA_WORD_LENGTH, *, signed: bool) -> int:
    """Returns the fraction length whose numbers are nearest to the values, by root mean square error (section 4.1)."""
    return int(fraction_lengths_by_search(values.reshape(1, -1), word_length, signed=signed))


def fraction_lengths_by_search(
    values: torch.Tensor, word_length: int = FORMULA_WORD_LENGTH, *, signed: bool
) -> torch.Tensor:
    """Returns the best fraction length, int32, of each row of values [rows, ...] by itself, as for a single one."""
    most = most_fraction(word_length, signed=signed)
    errors = torch.stack(
        [
            (values - to_integers(values, length, word_length, signed=signed) / 2**length).square().flatten(1).mean(1)
            for length in range(most + 1)
        ]
    )
    return errors.argmin(0).to(torch.int32)


def running_fraction_length(running: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    """Returns the running average of fraction lengths, a fraction itself; it is rounded where it is used."""
    return RUNNING * running + (1 - RUNNING) * batch


def effective_weight(
    weight: torch.Tensor,
    gamma: torch.Tensor,
    deviation: torch.Tensor,
    scaling: torch.Tensor | float,
    next_scaling: torch.Tensor | float,
) -> torch.Tensor:
    """Returns the weight that a batch norm and the scalings of its input and output are folded into (eq. 8).

    (gamma / sigma) W s / s', with gamma and sigma of one element an output channel; W is [out, ...].
    """
    shape = (-1, *[1] * (weight.dim() - 1))
    return (gamma / deviation).view(shape) * weight * (scaling / next_scaling)


def fix_scaling(
    alpha: torch.Tensor, fraction_length: torch.Tensor | int, word_length: int = FORMULA_WORD_LENGTH, *, signed: bool
) -> torch.Tensor:
    """Returns 2^fl |alpha| / (2^(wl - signed) - 1): what PACT clipping makes of a fixed-point format (eq. 5)."""
    steps = float(2 ** (word_length - signed) - 1)
    return _power(fraction_length, alpha) * alpha.abs() / steps


def shift_right(values: torch.Tensor, places: torch.Tensor | int) -> torch.Tensor:
    """Returns integers divided by 2^places, rounded half to even, by shifts alone; negative places shift left.

    Takes int32 or int64; nothing of it is done in floating point, so that an accelerator without one can do the same.
    """
    places = torch.as_tensor(places, dtype=values.dtype, device=values.device)
    bits = torch.iinfo(values.dtype).bits
    # By as many places as there are bits no value is more than a half, and shifts are not defined.
    values = values & -(places < bits).to(values.dtype)
    right, left = places.clamp(0, bits - 1), (-places).clamp(min=0)
    one = torch.ones((), dtype=values.dtype, device=values.device)
    floor = values >> right
    rest = values - (floor << right)
    # Without places there is no rest, and this one changes nothing.
    half = one << (right - 1).clamp(min=0)
    # Exactly at a half, the even neighbor: up if the floor is odd.
    up = rest > half - (floor & 1)
    return (floor + up.to(values.dtype)) << left


def _power(fraction_length: torch.Tensor | int, like: torch.Tensor) -> torch.Tensor:
    return torch.exp2(torch.as_tensor(fraction_length, device=like.device).to(like.dtype))


class _FixQuant(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        values: torch.Tensor,
        fraction_length: torch.Tensor | int,
        word_length: int,
        signed: bool,  # noqa: FBT001 - autograd passes by position
    ) -> torch.Tensor:
        low, high = bounds(word_length, signed=signed)
        power = _power(fraction_length, values)
        rounded = (values * power).round()
        ctx.save_for_backward((rounded > low) & (rounded < high))
        return rounded.clamp(low, high) / power

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None
