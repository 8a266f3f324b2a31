from __future__ import annotations

import math

import pytest
import torch

from lowbit.quantization.dorefa import (
    encode_weight,
    quantize_activation,
    quantize_gradient,
    quantize_weight,
    rounded_gradient,
)

BITS = [2, 3, 4, 6, 8]


def q(x, bits):
    n = 2**bits - 1
    return torch.round(x * n) / n


@pytest.mark.parametrize("bits", BITS)
def test_weights_follow_equation_9_in_fp64(bits):
    w = torch.randn(16, 3, 3, 3, dtype=torch.float64)
    expected = 2 * q(torch.tanh(w) / (2 * torch.tanh(w).abs().max()) + 0.5, bits) - 1
    assert float((quantize_weight(w, bits) - expected).abs().max()) <= 1e-12
    assert len(expected.unique()) <= 2**bits


def test_one_bit_is_the_sign_times_the_mean_magnitude():
    w = torch.randn(64, dtype=torch.float64)
    found = quantize_weight(w, 1)
    assert torch.allclose(found, torch.sign(w) * w.abs().mean(), atol=1e-12, rtol=0)
    assert float(quantize_weight(torch.tensor([0.0, -1.0]), 1)[0]) == 0.5


def test_the_gradient_of_a_weight_goes_around_the_rounding_only():
    w = torch.randn(32, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(32, dtype=torch.float64)
    (quantize_weight(w, 4) * direction).sum().backward()
    plain = w.detach().clone().requires_grad_()
    bounded = torch.tanh(plain)
    ((2 * (bounded / (2 * bounded.abs().max()) + 0.5) - 1) * direction).sum().backward()
    assert torch.allclose(w.grad, plain.grad, atol=1e-12, rtol=0)


@pytest.mark.parametrize("bits", BITS)
def test_activations_are_clipped_and_rounded(bits):
    x = torch.linspace(-1, 2, 301, dtype=torch.float64, requires_grad=True)
    found = quantize_activation(x, bits)
    assert float((found - q(x.clamp(0, 1), bits)).detach().abs().max()) <= 1e-12
    found.sum().backward()
    assert torch.equal(x.grad, ((x >= 0) & (x <= 1)).to(torch.float64))


@pytest.mark.parametrize("bits", [2, 4, 6])
def test_the_mean_of_a_gradient_over_many_draws_is_the_gradient(bits):
    g = torch.tensor([[0.7, -0.31, 0.05, 0.0], [-0.002, 0.001, 0.0005, -0.0017]], dtype=torch.float64)
    draws = 100_000
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand((draws, *g.shape), generator=generator, dtype=torch.float64) - 0.5
    many = g.expand(draws, *g.shape).reshape(-1, 4)
    found = rounded_gradient(many, bits, noise.reshape(-1, 4)).view(draws, *g.shape)
    error = (found.mean(0) - g).abs()
    standard_error = found.std(0) / math.sqrt(draws)
    # The largest of a sample lies on the edge, where the clip takes the upper half of its noise.
    inner = g.abs() < g.abs().amax(1, keepdim=True)
    assert bool((error <= 5 * standard_error + 1e-12)[inner].all())


def test_each_sample_has_its_own_scale_and_a_finite_set_of_values():
    values = torch.randn(4, 50, requires_grad=True)
    weights = torch.randn(4, 50) * torch.tensor([[1.0], [1e-3], [1e3], [0.0]])
    (quantize_gradient(values, 2, torch.Generator().manual_seed(1)) * weights).sum().backward()
    for sample, gradient in zip(values.grad, weights, strict=True):
        assert len(sample.unique()) <= 4
        assert float(sample.abs().max()) <= float(gradient.abs().max()) * 1.001
    assert not values.grad[3].any()


def test_the_noise_comes_from_the_generator_that_was_given():
    def run(seed):
        values = torch.ones(2, 9, requires_grad=True)
        found = quantize_gradient(values, 4, torch.Generator().manual_seed(seed))
        (found * torch.linspace(0.1, 1, 9)).sum().backward()
        return values.grad

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2))


def test_thirty_two_bits_change_nothing():
    x = torch.randn(5, 4)
    assert quantize_weight(x, 32) is x
    assert quantize_activation(x, 32) is x
    assert quantize_gradient(x, 32) is x


@pytest.mark.parametrize("bits", [0, 9, 33, -1, 2.5, 32.0, "4"])
def test_other_bits_are_refused(bits):
    for function in (quantize_weight, quantize_activation, quantize_gradient):
        with pytest.raises(ValueError, match=f"bits={bits!r}: must be a whole number from 1 to 8, or 32"):
            function(torch.ones(2), bits)


@pytest.mark.parametrize("bits", [1, 4])
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_has_no_codes(bits, wrong):
    with pytest.raises(ValueError, match="the weight holds NaN or an infinity"):
        encode_weight(torch.tensor([0.5, wrong]), bits)
