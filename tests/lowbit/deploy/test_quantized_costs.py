"""Quantized models do the operations of the float model, with less than a third of its weights' bytes."""

from __future__ import annotations

import pytest
import torch

from lowbit.deploy.layers import costs, weight_bytes
from lowbit.deploy.trace import trace
from lowbit.models.mobilenetv2 import MobileNetV2
from lowbit.models.resnet20 import ResNet20
from lowbit.quantization.flow import quantized
from lowbit.quantization.flows import flow

MODELS = {"resnet20": ResNet20, "mobilenetv2": MobileNetV2}
MOST = 0.30


def traced(model, name=None):
    torch.manual_seed(0)
    module, pictures = MODELS[model]().eval(), torch.randn(2, 3, 32, 32)
    if name is not None:
        module = quantized(flow(name), module, [pictures], trains=False)
    return trace(module, pictures)


def operations(trace):
    return {cost.name: cost.operations for cost in costs(trace) if cost.operations}


@pytest.mark.parametrize("name", ["fx-static-x86", "pt2e-static", "kbit-8"])
@pytest.mark.parametrize("model", MODELS)
def test_operations_are_those_of_the_float_model_and_weights_are_small(model, name):
    if name == "pt2e-static":
        pytest.importorskip("torchao")
    before, after = traced(model), traced(model, name)
    # By layer: all of them are found again under their own names.
    assert operations(after) == operations(before)
    assert sum(operations(after).values()) > 0
    assert weight_bytes(after) <= MOST * weight_bytes(before)
    assert not any(cost.uncounted for cost in costs(after))


def test_what_is_fused_is_one_row_with_integers_on_both_sides():
    after = {cost.name: cost for cost in costs(traced("resnet20", "fx-static-x86"))}
    layer = after["conv1a"]
    assert "norm1a" not in after
    assert (layer.kind, layer.arithmetic, layer.is_integer) == ("ConvReLU2d", "quint8", True)
    assert set(layer.calls) == {"quantized::conv2d_relu"}
    before = {cost.name: cost for cost in costs(traced("resnet20"))}["conv1a"]
    assert layer.inputs == {"quint8": before.inputs["float32"] // 4}
    assert layer.outputs == {"quint8": before.outputs["float32"] // 4}
    assert layer.intensity > 3 * before.intensity


def test_few_bits_that_are_simulated_compute_in_float_with_weights_of_a_byte():
    layer = {cost.name: cost for cost in costs(traced("resnet20", "kbit-8"))}["conv1a"]
    assert (layer.arithmetic, layer.is_integer, layer.weights["int8"]) == ("float32", True, 16 * 16 * 9)
