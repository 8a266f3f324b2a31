from __future__ import annotations

import copy

import pytest
import torch

from lowbit.models.mobilenetv2 import MobileNetV2
from lowbit.models.resnet20 import ResNet20
from lowbit.quantization import eager
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
    expected = module(pictures)
    before = torch.backends.quantized.engine
    found = quantized(eager.static(engine, per_tensor=per_tensor), copy.deepcopy(module), batches(), trains=False)
    assert torch.backends.quantized.engine == before
    assert not found.training
    assert coverage(module, found).quantized == 3
    schemes = {child.weight().qscheme() for child in found.modules() if callable(getattr(child, "weight", None))}
    assert schemes == {torch.per_tensor_affine if per_tensor else torch.per_channel_affine}
    outputs = found(pictures)
    assert 0 < departure(outputs, expected) < 0.1
    with using("qnnpack"):
        # Nobody else's engine gets into it, though this one refuses to pool over single values.
        assert torch.equal(found(pictures), outputs)


@pytest.mark.parametrize(("model", "layers"), [(ResNet20, 20), (MobileNetV2, 53)])
def test_the_models_of_the_library_are_quantized_whole(model, layers):
    torch.manual_seed(0)
    module = model().eval()
    found = quantized(eager.static("x86"), copy.deepcopy(module), batches(1), trains=False)
    assert coverage(module, found).quantized == layers
    assert found(batches(1)[0]).shape == (4, 10)


def test_dynamic_takes_linear_layers_and_says_what_it_leaves():
    module = Small().eval()
    found = quantized(eager.dynamic("x86"), copy.deepcopy(module), batches(), trains=False)
    counted = coverage(module, found)
    assert (counted.quantized, counted.eligible) == (1, 3)
    assert counted.cause.startswith("left in float: 2 Conv2d; torch's dynamic kernels are for linear layers")
    assert found(batches(1)[0]).shape == (4, 10)


@pytest.mark.parametrize("flow", [eager.static("x86"), eager.qat("x86")])
def test_ranges_move_in_calibration_and_never_in_validation(flow):
    module = flow.prepare(Small(), batches())
    calibrate(flow, module, batches())

    def ranges():
        state = module.state_dict()
        return {name: value.clone() for name, value in state.items() if name.endswith(("min_val", "max_val"))}

    seen = ranges()
    flow.enter(module, Stage.VALIDATION)
    module(batches(1)[0] * 9)
    assert all(torch.equal(value, seen[name]) for name, value in ranges().items())
    flow.enter(module, Stage.CALIBRATION)
    module(batches(1)[0] * 9)
    assert any(not torch.equal(value, seen[name]) for name, value in ranges().items())


def test_calibration_rounds_nothing_and_validation_does():
    torch.manual_seed(0)
    module = Small().eval()
    flow, pictures = eager.qat("onednn"), batches(1)[0]
    expected = module(pictures)
    prepared = flow.prepare(copy.deepcopy(module), batches())
    calibrate(flow, prepared, batches())
    assert torch.allclose(prepared(pictures), expected, atol=1e-5)
    assert coverage(module, prepared).quantized == 0
    flow.enter(prepared, Stage.VALIDATION)
    assert coverage(module, prepared).quantized == 3
    assert not torch.allclose(prepared(pictures), expected, atol=1e-5)


@pytest.mark.parametrize("per_tensor", [False, True])
def test_training_and_the_converted_model_have_the_same_scales_and_agree_in_every_layer(per_tensor):
    # onednn: the kernels of x86 and fbgemm clamp at 255 where the fake-quantizer clamps at 127.
    flow = eager.qat("onednn", per_tensor=per_tensor)
    module = trained(flow)
    given, before, steps = {}, {}, {}

    def keep(name):
        def hook(_, inputs, output):
            given[name], before[name] = inputs[0].detach(), output.detach()

        return hook

    def feed(name):
        def hook(_, inputs):
            scale, zero_point = inputs[0].q_scale(), inputs[0].q_zero_point()
            return torch.quantize_per_tensor(given[name], scale, zero_point, torch.quint8)

        return hook

    def compare(name):
        def hook(_, __, output):
            steps[name] = float((output.dequantize() - before[name]).abs().max()) / output.q_scale()

        return hook

    found = deployed(flow, copy.deepcopy(module)).module
    for name, child in module.named_modules():
        if hasattr(child, "weight_fake_quant"):
            converted, child_scale = found.get_submodule(name), child.weight_fake_quant.scale
            weight = converted.weight()
            scales = torch.tensor([weight.q_scale()]) if per_tensor else weight.q_per_channel_scales()
            assert torch.equal(scales.float(), child_scale)
            assert converted.scale == float(child.activation_post_process.scale)
            child.register_forward_hook(keep(name))
            converted.register_forward_pre_hook(feed(name))
            converted.register_forward_hook(compare(name))
    module(batches(1)[0])
    found(batches(1)[0])
    assert sorted(steps) == ["block", "classifier", "stem"]
    assert all(step <= 1.001 for step in steps.values())


def test_an_operation_without_kernel_is_refused_before_anybody_trains():
    class Sine(Small):
        def forward(self, pictures):
            return super().forward(torch.sin(pictures))

    for flow in (eager.static("x86"), eager.qat("x86")):
        with pytest.raises(
            QuantizationError, match=r"^Sine in eager mode on x86 fails: .*aten::sin.*; in eager mode all"
        ):
            flow.prepare(Sine(), batches())


def test_what_a_user_gets_wrong_is_one_line():
    with pytest.raises(QuantizationError, match="unknown engine 'x68': did you mean 'x86'"):
        eager.static("x68")
    with pytest.raises(QuantizationError, match="no batch"):
        eager.qat("x86").prepare(Small(), [])
    flow = eager.static("x86")
    with pytest.raises(QuantizationError, match="batch 1 holds NaN"):
        calibrate(flow, flow.prepare(Small(), batches()), [batches(1)[0], torch.full((2, 3, 32, 32), float("nan"))])
