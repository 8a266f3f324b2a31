from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from lowbit.quantization import flows
from lowbit.quantization.flow import QuantizationError
from lowbit.quantization.kbit import convert, prepare
from lowbit.quantization.kbit_layers import IntegerLayer, QuantizedLayer, Settings, compute
from lowbit.quantization.stage import Stage, Staged, enter
from tests.lowbit.quantization.test_kbit import Small, trained


def calibrated(model, pictures, **given):
    module = prepare(model, **given)
    enter(module, Stage.CALIBRATION)
    module(pictures)
    return module


@pytest.mark.parametrize("name", ["classifier", "middle"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_a_wide_output_is_whole_numbers_of_32_bits_while_training_and_after(name, per_channel):
    torch.manual_seed(0)
    pictures = torch.randn(4, 3, 32, 32)
    module = calibrated(Small(), pictures, settings=Settings(per_channel=per_channel), wide_output=name)
    enter(module, Stage.VALIDATION)
    outputs = []
    layer = module.get_submodule(name)
    layer.register_forward_hook(lambda _, __, output: outputs.append(output.detach()))
    expected = module(pictures)
    scale = layer.output_scale()
    scale = scale.view(-1, 1, 1) if scale.dim() and outputs[0].dim() == 4 else scale
    integers = outputs[0].double() / scale
    assert float(integers.abs().max()) < 2**31
    # What is left is the rounding of the sum, which is done in fp32.
    torch.testing.assert_close(integers, integers.round(), rtol=0, atol=0.02)
    converted = convert(copy.deepcopy(module))
    assert torch.equal(converted(pictures), expected)
    own = converted.get_submodule(name)
    assert own.bias_codes.dtype == torch.int32
    assert own.layer.bias is None


def test_a_wide_output_needs_no_bias():
    module = calibrated(Small(), torch.randn(2, 3, 32, 32), wide_output="depthwise")
    assert convert(module).depthwise.bias_codes is None


def test_a_rounded_bias_is_still_trained():
    torch.manual_seed(0)
    pictures = torch.randn(4, 3, 32, 32)
    module = calibrated(Small(), pictures, wide_output="classifier")
    enter(module, Stage.QAT)
    module(pictures).square().mean().backward()
    assert bool(module.classifier.layer.bias.grad.any())


def test_a_float_state_loads_into_a_prepared_model_unchanged():
    torch.manual_seed(0)
    plain, pictures = Small().eval(), torch.randn(2, 3, 32, 32)
    module = prepare(Small(), Settings(first_and_last=True))
    module.load_state_dict(plain.state_dict())
    enter(module, Stage.CALIBRATION)
    assert torch.equal(module(pictures), plain(pictures))


def test_a_float_state_with_something_missing_is_refused():
    state = Small().state_dict()
    del state["middle.bias"]
    with pytest.raises(RuntimeError, match=r"Missing key.*middle\.layer\.bias"):
        prepare(Small()).load_state_dict(state)


def test_loading_a_float_state_leaves_ranges_alone():
    module, _ = trained(stage=Stage.CALIBRATION)
    before = module.middle.input_quantizer.observer.high.clone()
    module.load_state_dict(Small().state_dict())
    assert torch.equal(module.middle.input_quantizer.observer.high, before)


def kinds(module):
    return [name for name, child in module.named_modules() if isinstance(child, QuantizedLayer)]


@pytest.mark.parametrize(
    ("modules", "quantized"),
    [
        ({}, ["middle", "depthwise", "hidden"]),
        ({"depth*": None}, ["middle", "hidden"]),
        ({"*": None, "hidden": Settings()}, ["hidden"]),
        ({"stem": Settings(weight_bits=4)}, ["stem", "middle", "depthwise", "hidden"]),
        ({"hidden": Settings(), "*": None, "m*": Settings()}, ["middle"]),
    ],
)
def test_modules_have_settings_of_their_own_and_the_last_that_matches_counts(modules, quantized):
    assert kinds(prepare(Small(), modules=modules)) == quantized


def test_settings_of_a_module_are_those_it_is_converted_with():
    own = Settings(weight_bits=3, per_channel=False)
    module = calibrated(Small(), torch.randn(2, 3, 32, 32), modules={"hidden": own})
    layer = convert(module).hidden
    assert isinstance(layer, IntegerLayer)
    assert int(layer.codes.abs().max()) == 3
    assert layer.scale.shape == ()


def test_a_wide_output_keeps_the_other_settings_of_its_layer():
    module = prepare(Small(), modules={"hidden": Settings(weight_bits=4)}, wide_output="hidden")
    assert module.hidden.weight_quantizer.grid.high == 7
    assert module.hidden.wide_output


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"modules": {"hiden": None}},
            r"'hiden' matches no layer of type Conv2d or Linear; did you mean 'hidden' or 'middle'\?",
        ),
        ({"wide_output": "zzz"}, "'zzz' matches no layer .* there are stem, middle, depthwise, hidden, classifier"),
        ({"wide_output": "norm"}, "'norm' matches no layer"),
        ({"modules": {"*": None}}, "Small has 5 layers of type Conv2d or Linear and the settings of modules leave"),
    ],
)
def test_a_name_that_matches_nothing_is_refused(given, says):
    with pytest.raises(QuantizationError, match=says):
        prepare(Small(), **given)


@pytest.mark.parametrize("field", ["weight_bits", "activation_bits"])
@pytest.mark.parametrize("bits", [0, 1, 9, 33, 2.5, "4", None])
def test_bits_that_cannot_be_are_refused_at_once(field, bits):
    with pytest.raises(QuantizationError, match=rf"bits={bits!r}: must be a whole number from 2 to 8"):
        replace(Settings(), **{field: bits})


def test_padding_with_other_values_than_zero_is_refused():
    layer = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
    with pytest.raises(QuantizationError, match="padding_mode='reflect': only zeros are quantized"):
        compute(layer, torch.randn(1, 3, 4, 4), layer.weight, layer.bias)


def reflecting():
    inner = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
    return nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), inner, nn.Conv2d(3, 3, 1))


@pytest.mark.parametrize("name", ["kbit-8", "dorefa-8-8-8", "f8net"])
def test_padding_with_other_values_than_zero_is_refused_before_anything_is_changed(name):
    module = reflecting()
    with pytest.raises(QuantizationError, match=r"^2: padding_mode='reflect', only zeros .* --setting 2=float$"):
        flows.flow(name).prepare(module, [torch.randn(1, 3, 4, 4)])
    assert not any(isinstance(child, Staged) for child in module.modules())


def test_a_layer_that_is_left_in_float_pads_as_it_likes():
    assert kinds(prepare(reflecting(), modules={"2": None})) == ["1"]
