from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import nn

from lowbit.models.mobilenetv2 import MobileNetV2
from lowbit.models.resnet20 import ResNet20
from lowbit.quantization.kbit import IntegerLayer, QuantizedLayer, Settings, convert, prepare
from lowbit.quantization.stage import Stage, enter


class Small(nn.Module):
    """A stem, a convolution with batch norm, a depthwise one, a linear layer, and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2)
        self.middle, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8, bias=False)
        self.hidden, self.classifier = nn.Linear(8, 16), nn.Linear(16, 10)

    def forward(self, pictures):
        x = torch.relu(self.norm(self.middle(torch.relu(self.stem(pictures)))))
        x = self.depthwise(x).mean((2, 3))
        return self.classifier(torch.relu(self.hidden(x)))


def trained(settings=None, model=Small, stage=Stage.QAT):
    """A model that has seen two batches while calibrating and one while training."""
    torch.manual_seed(0)
    module = prepare(model(), settings)
    pictures = torch.randn(4, 3, 32, 32)
    enter(module, Stage.CALIBRATION)
    for _ in range(2):
        module(pictures)
    if stage is Stage.QAT:
        enter(module, Stage.QAT)
        module(pictures).square().mean().backward()
    return module, pictures


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("per_channel", [True, False])
def test_the_integers_give_what_the_trained_model_gave_at_every_layer(bits, per_channel):
    settings = Settings(weight_bits=bits, activation_bits=bits, per_channel=per_channel)
    module, pictures = trained(settings)
    enter(module, Stage.VALIDATION)
    before, after = {}, {}

    def keep(found, name):
        return lambda _, __, output: found.__setitem__(name, output)

    for name, child in module.named_modules():
        if isinstance(child, QuantizedLayer):
            child.register_forward_hook(keep(before, name))
    expected = module(pictures)
    integers = convert(copy.deepcopy(module))
    for name, child in integers.named_modules():
        if isinstance(child, IntegerLayer):
            child.register_forward_hook(keep(after, name))
    assert torch.equal(integers(pictures), expected)
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_weights_are_stored_as_bytes_and_no_float_copy_is_kept():
    module, _ = trained(Settings(weight_bits=4))
    integers = convert(module)
    layers = [child for child in integers.modules() if isinstance(child, IntegerLayer)]
    assert len(layers) == 3
    for layer in layers:
        assert layer.codes.dtype == torch.int8
        assert int(layer.codes.abs().max()) == 7
        assert not hasattr(layer.layer, "weight")


def test_the_first_and_the_last_layer_stay_in_float_unless_it_is_asked_for():
    module, _ = trained(Settings(first_and_last=True))
    assert isinstance(module.stem, QuantizedLayer)
    assert isinstance(module.classifier, QuantizedLayer)
    module, _ = trained()
    assert type(module.stem) is nn.Conv2d
    assert type(module.classifier) is nn.Linear


def test_eval_does_not_stop_observers_but_validation_does():
    module, pictures = trained()
    ranges = {name: value.clone() for name, value in module.state_dict().items() if "input_quantizer" in name}
    enter(module, Stage.VALIDATION)
    module(pictures * 5)
    after = module.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in ranges.items())
    enter(module, Stage.QAT)
    module.eval()
    module(pictures * 5)
    assert any(not torch.equal(value, module.state_dict()[name]) for name, value in ranges.items())


def test_calibration_rounds_nothing():
    torch.manual_seed(0)
    plain = Small().train(mode=False)
    module = prepare(copy.deepcopy(plain))
    enter(module, Stage.CALIBRATION)
    pictures = torch.randn(2, 3, 32, 32)
    assert torch.equal(module(pictures), plain(pictures))


def test_training_reaches_every_weight():
    module, _ = trained(Settings(weight_bits=2, activation_bits=2))
    assert all(parameter.grad is not None for parameter in module.parameters())
    layer = next(child for child in module.modules() if isinstance(child, QuantizedLayer))
    assert bool(layer.layer.weight.grad.any())


@pytest.mark.parametrize("kind", ["min-max", "moving-average", "histogram"])
def test_every_range_quantizes_every_model(kind):
    for model in (Small, ResNet20, MobileNetV2):
        module, pictures = trained(Settings(activation_range=kind), model, Stage.CALIBRATION)
        reference = copy.deepcopy(module)
        enter(module, Stage.VALIDATION)
        rounded = module(pictures)
        enter(reference, Stage.CALIBRATION)
        exact = reference(pictures)
        assert not torch.equal(rounded, exact)
        assert float((rounded - exact).detach().norm() / exact.detach().norm()) < 0.2


def test_a_saved_state_loads_into_a_fresh_model():
    module, pictures = trained()
    enter(module, Stage.VALIDATION)
    stream = io.BytesIO()
    torch.save(module.state_dict(), stream)
    stream.seek(0)
    fresh = prepare(Small())
    fresh.load_state_dict(torch.load(stream, weights_only=True))
    enter(fresh, Stage.VALIDATION)
    assert torch.equal(fresh(pictures), module(pictures))


def test_what_was_never_calibrated_is_refused_by_name():
    with pytest.raises(
        ValueError, match="middle: the range is not finite: calibration saw NaN, an infinity, or nothing"
    ):
        convert(prepare(Small()))


def test_nan_in_calibration_data_is_refused():
    module = prepare(Small())
    enter(module, Stage.CALIBRATION)
    module(torch.full((2, 3, 32, 32), float("nan")))
    with pytest.raises(ValueError, match="calibration saw NaN"):
        convert(module)


def test_an_empty_batch_is_refused():
    module = prepare(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)))
    with pytest.raises(ValueError, match="the batch is empty"):
        module(torch.empty(0, 4))


def test_a_model_without_a_layer_to_quantize_is_refused():
    with pytest.raises(ValueError, match="Sequential has 2 layers of type Conv2d or Linear and none between"):
        prepare(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)))


@pytest.mark.parametrize("modules", [None, {"*": None}])
def test_a_model_without_any_layer_is_told_that_it_has_none(modules):
    with pytest.raises(ValueError, match="Flatten has no layer of type Conv2d or Linear, and so nothing to quantize"):
        prepare(nn.Flatten(), modules=modules)
