from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lowbit.quantization import eager, fx
from lowbit.quantization.flow import calibrate, deployed
from lowbit.quantization.stage import Stage
from tests.lowbit.quantization.small import Small, batches

# As near as numbers of 32 bits come to it.
SIX = 6 * (1 + 1e-6)
MODES = {"eager": eager, "fx": fx}
WHOLE = [(mode, kind, "onednn") for mode in MODES for kind in ("static", "qat")] + [("fx", "qat", "qnnpack")]
REDUCED = [("eager", "static", "fbgemm"), ("fx", "qat", "fbgemm")]


class Loud(Small):
    """Most of what its first layer gives is above 6."""

    def __init__(self):
        super().__init__()
        nn.init.constant_(self.norm.weight, 9.0)
        nn.init.constant_(self.norm.bias, 4.0)


def loud():
    torch.manual_seed(0)
    module = Loud().eval()
    assert (module.norm(module.stem(batches(1)[0])) > 6).float().mean() > 0.3
    return module


def prepared(mode, kind, engine):
    flow = getattr(MODES[mode], kind)(engine)
    model = flow.prepare(loud(), batches())
    calibrate(flow, model, batches())
    return flow, model


def given(module, child):
    """What a child of a converted model is given for a batch."""
    seen = []
    handle = child.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    module(batches(1)[0])
    handle.remove()
    return seen[0]


def operations(module):
    return [type(child).__name__ for child in module.modules()] + [node.target for node in module.module.graph.nodes]


@pytest.mark.parametrize(("mode", "kind", "engine"), WHOLE)
def test_a_layer_whose_top_code_is_six_is_a_relu6(mode, kind, engine):
    found = deployed(*prepared(mode, kind, engine))
    stem = found.module.stem
    assert type(stem).__name__ == "ConvReLU2d"
    assert "ReLU6" not in operations(found)
    assert stem.zero_point == 0
    # A histogram may give up some of the range.
    assert 4 < 255 * stem.scale <= SIX
    pictures = given(found, stem)
    fused = stem(pictures)
    unfused = torch.ops.quantized.relu6(
        torch.ops.quantized.conv2d(pictures, stem._packed_params, stem.scale, stem.zero_point), False
    )
    assert torch.equal(fused.int_repr(), unfused.int_repr())
    assert (fused.int_repr() == 255).float().mean() > 0.2


@pytest.mark.parametrize(("mode", "kind", "engine"), REDUCED)
def test_where_a_bit_is_kept_free_the_bound_stays_and_is_the_top_of_the_range(mode, kind, engine):
    found = deployed(*prepared(mode, kind, engine))
    stem = found.module.stem
    assert type(stem).__name__ == "ConvReLU2d"
    assert "ReLU6" in operations(found)
    assert 4 < 127 * stem.scale <= SIX
    beyond = stem(given(found, stem))
    assert beyond.int_repr().max() > 127
    outputs = given(found, found.module.block)
    assert outputs.dequantize().max() <= SIX
    # The nearest code to 6, of a scale whose last code may stand for a little less.
    assert outputs.int_repr().max() == min(255, round(6 / stem.scale))


@pytest.mark.parametrize(("mode", "kind", "engine"), [*WHOLE[:-1], *REDUCED])
def test_values_are_bounded_in_every_stage(mode, kind, engine):
    expected = loud()(batches(1)[0])
    flow, model = prepared(mode, kind, engine)
    flow.enter(model, Stage.CALIBRATION)
    assert torch.allclose(model(batches(1)[0]), expected, atol=1e-4)
    for stage in (Stage.VALIDATION, Stage.QAT):
        flow.enter(model, stage)
        assert given(model, model.block).max() <= SIX
    # Whoever copies a model copies the bound.
    copied = copy.deepcopy(model)
    assert given(copied, copied.block).max() <= SIX


def test_no_gradient_passes_above_the_bound():
    flow, model = prepared("fx", "qat", "onednn")
    flow.enter(model, Stage.QAT)
    # Every value that the layer gives is far above 6.
    nn.init.constant_(model.stem.bn.bias, 1e3)
    model(batches(1)[0]).sum().backward()
    assert model.stem.weight.grad.abs().max() == 0


def test_values_that_share_a_range_with_others_are_left_alone():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.relu = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.ReLU6()
            self.last = nn.Conv2d(8, 2, 1)

        def forward(self, pictures):
            bounded = self.relu(self.first(pictures))
            return self.last(torch.cat([bounded, self.second(pictures)], 1)).mean((2, 3))

    torch.manual_seed(0)
    module = Joined().eval()
    nn.init.constant_(module.second.bias, 20.0)
    expected = module(batches(1)[0])
    flow = fx.static("onednn")
    model = flow.prepare(copy.deepcopy(module), batches())
    calibrate(flow, model, batches())
    assert torch.allclose(model(batches(1)[0]), expected, atol=1e-4)
    found = deployed(flow, model)
    assert type(found.module.first).__name__ == "Conv2d"
    assert (found(batches(1)[0]) - expected).abs().max() < 0.3
