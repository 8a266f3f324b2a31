from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lowbit.models.autoencoder import Autoencoder
from lowbit.models.mobilenetv2 import MobileNetV2
from lowbit.models.resnet20 import ResNet20
from lowbit.quantization import fx
from lowbit.quantization.coverage import coverage
from lowbit.quantization.engine import ENGINES, using
from lowbit.quantization.flow import QuantizationError, calibrate, deployed, quantized
from lowbit.quantization.stage import Stage
from tests.lowbit.quantization.small import Small, batches, departure, trained


@pytest.mark.parametrize("per_tensor", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_quantizes_every_layer(engine, per_tensor):
    torch.manual_seed(0)
    module = Small().eval()
    pictures = batches(1)[0]
    before = torch.backends.quantized.engine
    found = quantized(fx.static(engine, per_tensor=per_tensor), copy.deepcopy(module), batches(), trains=False)
    assert torch.backends.quantized.engine == before
    assert not found.training
    assert coverage(module, found).quantized == 3
    schemes = {child.weight().qscheme() for child in found.modules() if callable(getattr(child, "weight", None))}
    assert schemes == {torch.per_tensor_affine if per_tensor else torch.per_channel_affine}
    outputs = found(pictures)
    assert 0 < departure(outputs, module(pictures)) < 0.1
    with using("qnnpack"):
        assert torch.equal(found(pictures), outputs)


@pytest.mark.parametrize(("model", "layers"), [(ResNet20, 20), (MobileNetV2, 53), (Autoencoder, 8)])
def test_the_models_of_the_library_are_quantized_whole(model, layers):
    torch.manual_seed(0)
    module = model().eval()
    found = quantized(fx.static("x86"), copy.deepcopy(module), batches(1), trains=False)
    assert coverage(module, found).quantized == layers
    assert found(batches(1)[0]).shape[0] == 4


def test_the_recipe_with_qint8_activations_is_caught():
    torch.manual_seed(0)
    module = Small().eval()
    found = quantized(fx.static("x86", qint8_activations=True), copy.deepcopy(module), batches(), trains=False)
    counted = coverage(module, found)
    assert (counted.quantized, counted.eligible) == (0, 3)
    assert counted.cause == (
        "no engine has kernels for activations of qint8, and FX leaves such layers in float without a word: use quint8"
    )
    # It computes what the float model does: nothing but the folding of batch norm was done.
    assert departure(found(batches(1)[0]), module(batches(1)[0])) < 1e-5


def test_dynamic_takes_linear_layers_and_says_what_it_leaves():
    module = Small().eval()
    found = quantized(fx.dynamic("x86"), copy.deepcopy(module), batches(), trains=False)
    counted = coverage(module, found)
    assert (counted.quantized, counted.eligible) == (1, 3)
    assert counted.cause.startswith("left in float: 2 Conv2d; torch's dynamic kernels are for linear layers")


@pytest.mark.parametrize("engine", ["x86", "qnnpack"])
def test_training_and_the_converted_model_have_the_same_scales(engine):
    flow = fx.qat(engine)
    module = trained(flow)
    found = deployed(flow, copy.deepcopy(module)).module
    layers = {name: child for name, child in module.named_modules() if hasattr(child, "weight_fake_quant")}
    assert len(layers) == 3
    for name, child in layers.items():
        scales = found.get_submodule(name).weight().q_per_channel_scales()
        assert torch.equal(scales.float(), child.weight_fake_quant.scale)
        assert found.get_submodule(name).scale in {
            float(quantizer.scale)
            for quantizer in module.modules()
            if hasattr(quantizer, "fake_quant_enabled") and quantizer.scale.numel() == 1
        }


def test_ranges_never_move_in_validation():
    flow = fx.static("x86")
    module = flow.prepare(Small(), batches())
    calibrate(flow, module, batches())
    flow.enter(module, Stage.VALIDATION)
    before = copy.deepcopy(module.state_dict())
    module(batches(1)[0] * 9)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    flow.enter(module, Stage.CALIBRATION)
    module(batches(1)[0] * 9)
    assert any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_what_has_no_kernel_stays_in_float():
    class Sine(Small):
        def forward(self, pictures):
            return super().forward(torch.sin(pictures))

    module = Sine().eval()
    found = quantized(fx.static("x86"), copy.deepcopy(module), batches(), trains=False)
    assert coverage(module, found).quantized == 3


def test_what_a_user_gets_wrong_is_one_line():
    class Counting(nn.Module):
        def forward(self, values):
            return values.view(len(values), -1)

    with pytest.raises(QuantizationError, match="unknown engine 'onedn': did you mean 'onednn'"):
        fx.qat("onedn")
    with pytest.raises(QuantizationError, match=r"^Counting cannot be traced by torch\.fx"):
        fx.static("x86").prepare(Counting(), batches())
