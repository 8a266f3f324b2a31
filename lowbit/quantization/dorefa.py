"""DoReFa-Net: weights, activations and gradients of few bits (Zhou et al., arXiv 1606.06160).

Every function is the paper's formula; gradients of rounding are those of the identity (section 2.2, eq. 5 and 6).
"""

from __future__ import annotations

from typing import Any

import torch

from lowbit.quantization.flow import QuantizationError

FULL = 32


def round_to(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Returns q_k(x) = round(x (2^k - 1)) / (2^k - 1) of values in [0, 1], halves to even (eq. 5)."""
    steps = float(2**bits - 1)
    return torch.round(values * steps) / steps


def quantize_weight(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Returns weights of some bits, in [-1, 1]; 32 bits leave them alone.

    One bit: sign(w) E|w| (eq. 7), the sign of zero counted as positive. More: 2 q_k(tanh w / (2 max|tanh w|) + 1/2) - 1
    (eq. 9), where the gradient goes through tanh and its maximum, and around the rounding.
    """
    check_bits(bits)
    if bits == FULL:
        return weight
    if bits == 1:
        mean = weight.detach().abs().mean()
        return _straight_through(weight, torch.where(weight >= 0, mean, -mean))
    bounded = torch.tanh(weight)
    unit = bounded / (2 * bounded.abs().max().clamp(min=torch.finfo(weight.dtype).tiny)) + 0.5
    return 2 * _straight_through(unit, round_to(unit, bits)) - 1


def encode_weight(weight: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns codes of 1 to 8 bits, uint8 of the weight's shape, and what they reach to: one number.

    `decode_weight` makes of them what `quantize_weight` gives, bit for bit. Raises QuantizationError for a weight that
    is not finite, which no code stands for.
    """
    if not bool(torch.isfinite(weight).all()):
        raise QuantizationError("the weight holds NaN or an infinity: train with a lower learning rate")
    quantized = quantize_weight(weight.detach(), bits)
    reach = quantized.abs().flatten()[0] if bits == 1 else torch.ones((), dtype=weight.dtype, device=weight.device)
    steps = float(2**bits - 1)
    unit = (quantized >= 0).to(weight.dtype) if bits == 1 else (quantized + 1) / 2
    return torch.round(unit * steps).to(torch.uint8), reach


def decode_weight(codes: torch.Tensor, reach: torch.Tensor, bits: int) -> torch.Tensor:
    """Returns reach (2 q - 1) with q = codes / (2^k - 1), in the dtype of `reach`."""
    return (2 * (codes.to(reach.dtype) / float(2**bits - 1)) - 1) * reach


def quantize_activation(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Returns q_k(clip(x, 0, 1)) (eq. 11 and its bounded activation); 32 bits neither clip nor round."""
    check_bits(bits)
    if bits == FULL:
        return values
    clipped = values.clamp(0, 1)
    return _straight_through(clipped, round_to(clipped, bits))


def quantize_gradient(values: torch.Tensor, bits: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Returns the values, whose gradient is of some bits: f_k of eq. 12, for each sample by itself.

    2 m (q_k(g / 2m + 1/2 + N(k)) - 1/2) with m the largest magnitude of a sample's gradient and N(k) uniform in half a
    step either way, drawn from `generator`, so that the mean is the gradient itself. The first dimension is the
    sample's. 32 bits leave the gradient alone.
    """
    check_bits(bits)
    if bits == FULL:
        return values
    result: torch.Tensor = _QuantizeGradient.apply(values, bits, generator)  # type: ignore[no-untyped-call]
    return result


def rounded_gradient(gradient: torch.Tensor, bits: int, noise: torch.Tensor) -> torch.Tensor:
    """Returns f_k of a gradient [samples, ...] for noise of its shape, uniform in [-1/2, 1/2) (eq. 12)."""
    steps = 2**bits - 1
    largest = gradient.abs().amax(tuple(range(1, gradient.dim())), keepdim=True)
    twice = 2 * largest.clamp(min=torch.finfo(gradient.dtype).tiny)
    unit = (gradient / twice + 0.5 + noise / steps).clamp(0, 1)
    return twice * (round_to(unit, bits) - 0.5) * (largest > 0)


def check_bits(bits: int) -> None:
    """Raises QuantizationError for bits that are neither 1 to 8 nor 32."""
    if type(bits) is not int or (bits != FULL and not 1 <= bits <= 8):
        raise QuantizationError(f"bits={bits!r}: must be a whole number from 1 to 8, or {FULL} for none at all")


def _straight_through(values: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = _StraightThrough.apply(values, rounded)  # type: ignore[no-untyped-call]
    return result


class _StraightThrough(torch.autograd.Function):
    """Gives the rounded values, and the gradient to the others."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:  # noqa: ARG004 - torch's signature
        return rounded.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:  # noqa: ARG004 - torch's signature
        return gradients[0], None


class _QuantizeGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, bits: int, generator: torch.Generator | None) -> torch.Tensor:
        ctx.bits, ctx.generator = bits, generator
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        noise = torch.rand(gradient.shape, generator=ctx.generator, device=gradient.device, dtype=gradient.dtype) - 0.5
        return rounded_gradient(gradient, ctx.bits, noise), None, None
