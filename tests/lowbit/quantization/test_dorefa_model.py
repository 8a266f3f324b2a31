from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from lowbit.models.autoencoder import Autoencoder
from lowbit.models.mobilenetv2 import MobileNetV2
from lowbit.models.resnet20 import ResNet20
from lowbit.quantization.coverage import coverage
from lowbit.quantization.dorefa_layers import GradientQuantizer, IntegerLayer, QuantizedLayer
from lowbit.quantization.dorefa_model import flow
from lowbit.quantization.flow import QuantizationError, calibrate, deployed
from lowbit.quantization.stage import Stage


class Small(nn.Module):
    """A stem, two convolutions with batch norm in a block with a shortcut, and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2)
        self.one, self.norm_one = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.two, self.norm_two = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.classifier = nn.Linear(6, 10)

    def forward(self, pictures):
        x = torch.relu(self.stem(pictures))
        branch = torch.relu(self.norm_one(self.one(x)))
        x = x + self.norm_two(self.two(branch))
        return self.classifier(torch.relu(x).mean((2, 3)))


PICTURES = torch.randn(4, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def prepared(*bits, model=Small, pictures=PICTURES, stage=Stage.QAT, **options):
    torch.manual_seed(0)
    chosen = flow(*bits, **options)
    module = chosen.prepare(model(), [pictures])
    chosen.enter(module, stage)
    return chosen, module


def layers(module, kind=QuantizedLayer):
    return {name: child for name, child in module.named_modules() if isinstance(child, kind)}


def q(x, bits):
    n = 2**bits - 1
    return torch.round(x * n) / n


def transcribed(model, x, w, a):
    """The formulas of the paper, written out for Small."""

    def weight(v):
        return 2 * q(torch.tanh(v) / (2 * torch.tanh(v).abs().max()) + 0.5, w) - 1

    x = torch.relu(model.stem(x))
    clipped = [q(x.clamp(0, 1), a)]
    branch = model.norm_one(torch.conv2d(clipped[0], weight(model.one.layer.weight), padding=1))
    clipped.append(q(torch.relu(branch).clamp(0, 1), a))
    x = x + model.norm_two(torch.conv2d(clipped[1], weight(model.two.layer.weight), model.two.layer.bias, padding=1))
    return model.classifier(torch.relu(x).mean((2, 3)))


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_model_computes_what_the_formulas_say_in_fp64(bits):
    _, module = prepared(bits, bits, 32, stage=Stage.VALIDATION)
    module.double()
    found, expected = module(PICTURES.double()), transcribed(module, PICTURES.double(), bits, bits)
    assert float((found - expected).detach().abs().max()) <= 1e-12


def gradients_at(module, names):
    """The gradients that arrive behind the quantizers, and those that leave them towards the layer."""
    arriving, leaving = {}, {}

    def keep(name):
        def hook(_, inputs, output):
            inputs[0].register_hook(lambda gradient: leaving.__setitem__(name, gradient))
            output.register_hook(lambda gradient: arriving.__setitem__(name, gradient))

        return hook

    for name in names:
        module.get_submodule(name).register_forward_hook(keep(name))
    module(PICTURES).square().mean().backward()
    return arriving, leaving


@pytest.mark.parametrize(
    ("place", "names"), [("branch", ["one.gradient", "two.gradient"]), ("sum", ["sum_gradient_0"])]
)
def test_gradients_are_rounded_between_a_convolution_and_its_batch_norm_and_at_the_sum(place, names):
    _, module = prepared(32, 32, 2, place=place)
    assert set(layers(module, GradientQuantizer)) == {"one.gradient", "two.gradient", "sum_gradient_0"} - (
        {"sum_gradient_0"} if place == "branch" else set()
    )
    arriving, leaving = gradients_at(module, names)
    for name in names:
        for before, after in zip(arriving[name], leaving[name], strict=True):
            assert len(before.unique()) > 4
            assert len(after.unique()) <= 4
            assert float(after.abs().max()) <= float(before.abs().max()) * 1.001


def test_gradients_are_rounded_in_training_only():
    _, module = prepared(32, 32, 2, stage=Stage.VALIDATION)
    exact = copy.deepcopy(module)
    for child in layers(exact, GradientQuantizer).values():
        child.bits = 32
    for each in (module, exact):
        each(PICTURES).square().mean().backward()
    assert torch.equal(module.one.layer.weight.grad, exact.one.layer.weight.grad)


def test_noise_goes_on_alike_in_a_copy_and_after_loading_and_differs_by_seed():
    def step(module):
        module.zero_grad()
        module(PICTURES).square().mean().backward()
        return module.one.layer.weight.grad.clone()

    _, module = prepared(4, 4, 4, place="sum", seed=1)
    step(module)
    twin = copy.deepcopy(module)
    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)
    stream.seek(0)
    _, loaded = prepared(4, 4, 4, place="sum", seed=2)
    loaded.load_state_dict(torch.load(stream, weights_only=True))
    gradient = step(module)
    assert torch.equal(gradient, step(twin))
    assert torch.equal(gradient, step(loaded))
    assert not torch.equal(gradient, step(prepared(4, 4, 4, place="sum", seed=2)[1]))


@pytest.mark.parametrize(
    ("model", "weights", "inputs", "sums"),
    # MobileNetV2's linear bottlenecks, the autoencoder's code, a layer norm and a GELU give numbers of either sign.
    [(ResNet20, 18, 18, 9), (MobileNetV2, 51, 34, 10), (Autoencoder, 6, 5, 0)],
)
def test_what_of_a_model_is_quantized(model, weights, inputs, sums):
    pictures = torch.randn(2, 3, 32, 32)
    _, module = prepared(4, 4, 4, model=model, pictures=pictures)
    found = layers(module)
    assert len(found) == weights
    assert sum(layer.quantizes_input for layer in found.values()) == inputs
    assert all(layer.quantizes_weight for layer in found.values())
    _, module = prepared(4, 4, 4, model=model, pictures=pictures, place="sum")
    assert len(layers(module, GradientQuantizer)) == weights + sums


class Branching(torch.nn.Sequential):
    """A model whose forward asks a tensor for its sign: no graph shows what it does."""

    def forward(self, pictures):
        values = super().forward(pictures)
        return values if values.sum() > 0 else -values


def test_sums_of_a_model_that_cannot_be_traced_are_refused():
    def model():
        return Branching(*(torch.nn.Linear(8, 8) for _ in range(3)))

    with pytest.raises(QuantizationError, match=r"Branching cannot be traced.*; use place='branch'"):
        prepared(4, 4, 4, model=model, pictures=torch.randn(2, 8), place="sum")


def outputs_of(children):
    """What modules give when their model is run, by name."""
    found = {}
    for name, child in children.items():
        child.register_forward_hook(lambda _, __, output, name=name: found.__setitem__(name, output))
    return found


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_codes_of_one_byte_give_what_was_trained_bit_for_bit_at_every_layer(bits):
    chosen, module = prepared(bits, bits, 8, place="sum")
    module(PICTURES).square().mean().backward()
    chosen.enter(module, Stage.VALIDATION)
    integers = deployed(chosen, copy.deepcopy(module))
    before, after = outputs_of(layers(module)), outputs_of(layers(integers, IntegerLayer))
    assert torch.equal(integers(PICTURES), module(PICTURES))
    assert list(before) == list(after) == ["one", "two"]
    assert all(torch.equal(before[name], after[name]) for name in before)
    for layer in layers(integers, IntegerLayer).values():
        assert layer.codes.dtype == torch.uint8
        assert len(layer.codes.unique()) <= 2**bits
        assert not hasattr(layer.layer, "weight")
    assert not layers(integers, GradientQuantizer)


@pytest.mark.parametrize("model", [ResNet20, MobileNetV2])
def test_whole_models_train_and_are_deployed_bit_for_bit(model):
    pictures = torch.randn(2, 3, 32, 32)
    chosen, module = prepared(4, 4, 8, model=model, pictures=pictures, place="sum")
    module(pictures).square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    chosen.enter(module, Stage.VALIDATION)
    expected = module(pictures)
    assert torch.equal(deployed(chosen, module)(pictures), expected)


def test_calibration_rounds_nothing():
    torch.manual_seed(0)
    plain = Small().eval()
    chosen = flow(2, 2, 2)
    module = chosen.prepare(copy.deepcopy(plain), [PICTURES])
    calibrate(chosen, module, [PICTURES])
    assert torch.equal(module(PICTURES), plain(PICTURES))


def test_coverage_counts_the_inner_layers_trained_and_deployed():
    chosen, module = prepared(4, 4, 32)
    for each in (module, deployed(chosen, copy.deepcopy(module))):
        found = coverage(Small(), each)
        assert (found.quantized, found.eligible) == (2, 4)
        assert "1 Conv2d, 1 Linear; DoReFa-Net leaves the first and the last layer in float" in found.cause


def test_weights_of_32_bits_stay_and_say_so():
    chosen, module = prepared(32, 4, 32)
    found = coverage(Small(), module)
    assert (found.quantized, found.eligible, found.cause) == (0, 4, "weights of 32 bits are float: give 1 to 8")
    module = deployed(chosen, module)
    assert not any(layer.quantizes_weight for layer in layers(module).values())
    assert not layers(module, IntegerLayer)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_bits": 0}, "bits=0: must be a whole number from 1 to 8, or 32"),
        ({"activation_bits": 33}, "bits=33: must be a whole number from 1 to 8, or 32"),
        ({"place": "brunch"}, "place='brunch': must be one of branch, sum, did you mean 'branch'?"),
    ],
)
def test_other_settings_are_refused(arguments, message):
    with pytest.raises(QuantizationError, match=message):
        flow(**{"weight_bits": 4, "activation_bits": 4, "gradient_bits": 4, **arguments})


def test_a_model_that_is_too_shallow_and_no_batch_are_refused():
    with pytest.raises(QuantizationError, match="Sequential runs 2 layers of type Conv2d or Linear and none between"):
        flow(4, 4, 4).prepare(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), [torch.randn(2, 4)])
    with pytest.raises(QuantizationError, match="Flatten runs no layer of type Conv2d or Linear, and so has nothing"):
        flow(4, 4, 4).prepare(nn.Flatten(), [torch.randn(2, 4)])
    with pytest.raises(QuantizationError, match="there is no batch"):
        flow(4, 4, 4).prepare(Small(), [])
