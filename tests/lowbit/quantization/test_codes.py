from __future__ import annotations

import copy
from unittest import mock

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from lowbit.models.resnet20 import ResNet20
from lowbit.quantization import codes, eager, fx
from lowbit.quantization.flow import calibrate, deployed
from lowbit.quantization.torch_ao import quiet
from tests.lowbit.quantization.small import batches


class Names(TorchDispatchMode):
    """Takes down which operations reach torch's dispatcher."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def quantized(*shape, channels_last=True, zero_point=3):
    torch.manual_seed(0)
    with quiet():
        values = torch.quantize_per_tensor(torch.randn(shape), 0.02, zero_point, torch.quint8)
    return values.contiguous(memory_format=torch.channels_last) if channels_last and len(shape) == 4 else values


def same(found, expected):
    assert found.shape == expected.shape
    assert (found.q_scale(), found.q_zero_point()) == (expected.q_scale(), expected.q_zero_point())
    assert torch.equal(found.int_repr(), expected.int_repr())


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("channels", [1, 16, codes.VECTOR])
@pytest.mark.parametrize(
    "given",
    [
        {"kernel_size": 3, "stride": 1},
        {"kernel_size": (2, 5), "stride": 1},
        {"kernel_size": (3, 1), "stride": (1, 1)},
        {"kernel_size": 1, "stride": 1},
        {"kernel_size": 3, "stride": 2},
        {"kernel_size": 3, "stride": 1, "padding": 1},
        {"kernel_size": 2, "stride": 1, "dilation": 2},
    ],
)
def test_a_max_pool_gives_the_codes_of_torch(given, channels, channels_last):
    values = quantized(2, channels, 9, 7, channels_last=channels_last)
    same(codes.MaxPool2d(**given)(values), nn.MaxPool2d(**given)(values))


def test_a_window_that_does_not_fit_is_refused_as_torch_does():
    with pytest.raises(RuntimeError, match="too small"):
        codes.MaxPool2d(9, stride=1)(quantized(1, 4, 5, 5))


@pytest.mark.parametrize(
    "given",
    [
        ((0, 0, 0, 0, 0, 16),),
        ((1, 2, 3, 4),),
        ((1, 0),),
        ((0, 0, 1, 0, 2, 0, 1, 1),),
        ((1, 1), "constant", 0.0),
        ((1, 1), "constant", 1.0),
        ((-1, 2),),
        ((1, 1, 1, 1), "reflect"),
    ],
)
def test_padding_gives_the_codes_of_torch(given):
    values = quantized(2, 8, 5, 6)
    found = codes.pad(values, *given)
    same(found, functional.pad(values, *given))
    if len(given) == 1 and min(given[0]) >= 0:
        # Whatever comes next would have to bring it there.
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_what_is_no_picture_of_codes_is_left_to_torch():
    floats = torch.randn(2, 4, 5, 5)
    assert torch.equal(codes.pad(floats, (1, 1)), functional.pad(floats, (1, 1)))
    assert torch.equal(codes.MaxPool2d(3, stride=1)(floats), functional.max_pool2d(floats, 3, 1))
    assert torch.equal(codes.AdaptiveAvgPool2d(5)(floats), floats)
    same(codes.pad(quantized(3, 4), (1, 1)), functional.pad(quantized(3, 4), (1, 1)))


@pytest.mark.parametrize("size", [1, (1, 1), (1, None), 3])
@pytest.mark.parametrize("side", [1, 3, 4])
def test_an_average_gives_the_codes_of_torch(side, size):
    values = quantized(2, 16, side, side)
    same(codes.AdaptiveAvgPool2d(size)(values), nn.AdaptiveAvgPool2d(size)(values))


@pytest.mark.parametrize("flow", [fx.static("x86"), fx.qat("onednn"), eager.static("x86")])
def test_a_model_gives_the_same_with_it_as_without(flow):
    torch.manual_seed(0)
    prepared = flow.prepare(ResNet20().eval(), batches(1))
    calibrate(flow, prepared, batches(1))
    with mock.patch.object(codes, "lower", side_effect=lambda module: module):
        without = deployed(flow, copy.deepcopy(prepared))
    found = deployed(flow, prepared)
    assert type(found.module.pool) is codes.MaxPool2d
    assert type(without.module.pool) is nn.MaxPool2d
    targets = [node.target for node in found.module.graph.nodes]
    # Only the outputs leave the integers.
    assert targets.count(codes.pad) == 2
    assert targets.count("dequantize") <= 1
    assert targets.count(torch.quantize_per_tensor) <= 1
    assert torch.equal(found(batches(1)[0]), without(batches(1)[0]))


# No other format holds packed weights; torch's own layers look at shapes.
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.trace(_method)?` is deprecated:DeprecationWarning")
def test_what_is_traced_needs_torch_alone():
    torch.manual_seed(0)
    flow = fx.static("x86")
    prepared = flow.prepare(ResNet20().eval(), batches(1))
    calibrate(flow, prepared, batches(1))
    found = deployed(flow, prepared).module
    traced = torch.jit.trace(found, batches(1)[0], check_trace=False)
    assert "aten::max_pool2d" in str(traced.inlined_graph)
    assert torch.equal(traced(batches(1)[0]), found(batches(1)[0]))


def test_who_counts_operations_sees_those_of_torch_and_the_same_codes():
    values, pool = quantized(2, 4, 9, 7), codes.MaxPool2d(3, stride=1)
    with Names() as seen:
        found = pool(codes.pad(values, (1, 1, 1, 1)))
    same(found, pool(codes.pad(values, (1, 1, 1, 1))))
    assert seen.names == ["constant_pad_nd", "quantized_max_pool2d"]
