from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lowbit.quantization.f8net import FixedLayer, Source, along, exact_dtype
from lowbit.quantization.f8net_stream import Stream
from lowbit.quantization.fixed_point import fraction_length_by_formula
from lowbit.quantization.stage import Stage, enter

DRAW = torch.Generator()


@pytest.fixture(autouse=True)
def _drawn_anew():
    """Lets no test's numbers hang on the tests that the process ran before it."""
    DRAW.manual_seed(0)


def conv(**options):
    torch.manual_seed(0)
    return nn.Conv2d(4, 8, 3, **{"padding": 1, "bias": False, **options})


def batch_norm(channels=8):
    norm = nn.BatchNorm2d(channels)
    with torch.no_grad():
        for tensor, low, high in (
            (norm.weight, 0.2, 2.0),
            (norm.bias, -1.0, 1.0),
            (norm.running_mean, -1.0, 1.0),
            (norm.running_var, 0.3, 3.0),
        ):
            tensor.uniform_(low, high, generator=DRAW)
    return norm


def fixed(layer=None, norm=None, *, clips=True, signed=False, source=None, fraction="formula", target=True):
    stream = Stream(1, signed=signed, clips=clips)
    following = Stream(1, signed=False, clips=clips, alpha=5.0) if target else None
    source = source or Source(rectified=not signed)
    return FixedLayer(layer or conv(), norm, stream, following, source=source, fraction=fraction)


def q(x, length, bound, low=None):
    return (x * 2.0**length).round().clamp(-bound if low is None else low, bound) / 2.0**length


def test_training_is_the_published_double_forward_in_fp64():
    module = fixed(norm=batch_norm()).double()
    enter(module, Stage.QAT)
    module.stream.running.fill_(5.0)
    module.target.running.fill_(4.0)
    twin = copy.deepcopy(module)
    values = torch.randn(16, 4, 6, 6, dtype=torch.float64, generator=DRAW, requires_grad=True)
    found = module(values)

    scaling, following = 2.0**5 * 8 / 255, 2.0**4 * 5 / 255
    length = int(torch.floor(torch.log2(70 / (values.detach() * scaling).std())))
    rounded = q(values, length, 255, 0)
    weight, norm = twin.layer.weight, twin.norm
    plain = torch.conv2d(rounded * scaling, weight, padding=1)
    mean, deviation = plain.mean((0, 2, 3)), (plain.var((0, 2, 3), unbiased=False) + norm.eps).sqrt()
    effective = (norm.weight / deviation)[:, None, None, None] * weight * scaling / following
    lengths = torch.floor(torch.log2(40 / effective.square().mean((1, 2, 3)).sqrt())).clamp(0, 7)
    effective = q(effective, lengths[:, None, None, None], 127)
    bias = (norm.bias - norm.weight / deviation * mean) / following
    expected = torch.conv2d(rounded, effective, bias, padding=1)
    assert float((found - expected).detach().abs().max()) <= 1e-12

    norm.train()(plain)
    assert torch.allclose(module.norm.running_mean, norm.running_mean, rtol=0, atol=1e-12)
    assert torch.allclose(module.norm.running_var, norm.running_var, rtol=0, atol=1e-12)
    assert float(module.stream.running[0]) == pytest.approx(0.9 * 5 + 0.1 * length)


def test_training_reaches_weights_norms_and_both_clips():
    module = fixed(norm=batch_norm())
    enter(module, Stage.QAT)
    module(torch.randn(8, 4, 6, 6, generator=DRAW)).square().mean().backward()
    assert all(bool(parameter.grad.any()) for parameter in module.parameters())
    assert {name.split(".")[0] for name, _ in module.named_parameters()} == {"layer", "norm", "stream", "target"}


@pytest.mark.parametrize("signed", [False, True])
def test_validation_folds_the_running_statistics_and_stays_near_the_float_layer(signed):
    norm = batch_norm()
    plain = nn.Sequential(nn.Identity() if signed else nn.ReLU(), conv(bias=True), copy.deepcopy(norm)).eval()
    module = fixed(copy.deepcopy(plain[1]), norm, signed=signed)
    values = torch.randn(8, 4, 6, 6, generator=DRAW)
    enter(module, Stage.CALIBRATION)
    assert torch.allclose(module(values), plain(values), atol=1e-5)
    enter(module, Stage.VALIDATION)
    result = module(values.double() / module.stream.scaling(dtype=torch.float64))
    real = result * module.target.scaling(dtype=torch.float64)
    assert result.dtype == torch.float64
    expected = plain(values)
    assert float((real - expected).detach().norm() / expected.detach().norm()) < 0.03


def test_each_channel_of_a_weight_has_a_fraction_length_and_the_bias_that_of_the_product():
    layer = conv()
    with torch.no_grad():
        layer.weight *= torch.logspace(-1, 1.5, 8)[:, None, None, None]
    module = fixed(layer, batch_norm(), clips=False)
    parts = module.folded()
    deviation = (module.norm.running_var.double() + module.norm.eps).sqrt()
    exact = (module.norm.weight / deviation)[:, None, None, None].detach() * layer.weight.detach().double()
    assert len(parts.weight_length.unique()) > 3
    assert int(parts.codes.abs().max()) <= 127
    assert torch.equal(parts.codes, parts.codes.round())
    codes = parts.bias * torch.exp2(parts.weight_length + parts.input_length)
    assert torch.equal(codes, codes.round())
    searched = fixed(layer, module.norm, clips=False, fraction="search").folded()
    error, least = ((part.weight - exact).square().flatten(1).mean(1) for part in (parts, searched))
    assert bool((least <= error).all())


@pytest.mark.parametrize(
    ("source", "signed", "spread"),
    [
        (Source(rectified=True), False, lambda values: fraction_length_by_formula(values.std(), signed=False)),
        (Source(), True, lambda values: fraction_length_by_formula(values.std(), signed=True)),
        (
            Source(),
            False,
            lambda values: fraction_length_by_formula(values.square().mean().sqrt(), signed=False, metric="rms"),
        ),
    ],
)
def test_fraction_lengths_come_from_the_spread_before_the_relu_and_the_batches_mean(source, signed, spread):
    module = fixed(source=source, signed=signed)
    enter(module, Stage.CALIBRATION)
    batches = [torch.randn(8, 4, 6, 6, generator=DRAW) * scale for scale in (1.0, 0.3, 3.0)]
    for batch in batches:
        module(batch)
    expected = sum(int(spread(batch)) for batch in batches) / 3
    assert float(module.stream.running[0]) == pytest.approx(expected)


def test_fraction_lengths_do_not_move_in_validation():
    module = fixed(norm=batch_norm())
    enter(module, Stage.VALIDATION)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module(torch.randn(8, 4, 6, 6, dtype=torch.float64, generator=DRAW) * 100)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("clips", [True, False])
def test_a_layer_that_is_last_gives_real_numbers_with_its_own_weight(clips):
    torch.manual_seed(0)
    linear = nn.Linear(12, 5)
    module = fixed(copy.deepcopy(linear), clips=clips, source=Source(), target=False)
    values = torch.rand(64, 12, generator=DRAW)
    enter(module, Stage.CALIBRATION)
    assert torch.equal(module(values), linear(values))
    enter(module, Stage.VALIDATION)
    found = module(values.double() / module.stream.scaling(dtype=torch.float64))
    assert found.dtype == torch.float32
    assert float((found - linear(values)).detach().abs().max()) < 0.05


def test_a_ceiling_holds_without_a_clip():
    module = fixed(conv(padding=0), clips=False, source=Source(rectified=True, ceiling=6.0))
    module.stream.running.fill_(4.0)
    enter(module, Stage.VALIDATION)
    values = torch.full((1, 4, 3, 3), 7.5, dtype=torch.float64)
    assert torch.equal(module(values), module(values * 0 + 6.0))


def test_sums_are_exact_in_fp32_only_below_two_to_24():
    assert exact_dtype(torch.full((2, 100), 127.0), 255) == torch.float32
    assert exact_dtype(torch.full((2, 1000), 127.0), 255) == torch.float64


def test_one_number_a_channel_is_broadcast_along_its_dimension():
    assert along(torch.arange(3), torch.zeros(2, 3, 4, 4), 1).shape == (1, 3, 1, 1)
    assert along(torch.arange(2), torch.zeros(2, 3), 0).shape == (2, 1)
