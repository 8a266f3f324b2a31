from __future__ import annotations

import pytest
import torch
from torch import nn

from lowbit.quantization.f8net import FixedLayer, Source
from lowbit.quantization.f8net_integer import (
    IntegerAverage,
    IntegerClamp,
    IntegerEntry,
    IntegerExit,
    IntegerLayer,
    IntegerSum,
    Wire,
    reals,
)
from lowbit.quantization.f8net_stream import Average, Entry, Stream
from lowbit.quantization.stage import Stage, enter

COUNT = 10_000


def integers(shape, length, most=2**20, seed=0):
    """Random integers, the wire that they come by, and the real numbers that they stand for."""
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(-most, most + 1, shape, generator=generator, dtype=torch.int32)
    # Half of them small, or nearly all would be clamped.
    codes = torch.where(torch.rand(shape, generator=generator) < 0.5, codes, codes >> 10)
    wire = Wire(length=length, most=torch.full(length.shape, most, dtype=torch.float64))
    return codes, wire, real(codes, wire)


def real(codes, wire):
    return reals(codes, wire.length)


def norm(channels):
    found = nn.BatchNorm2d(channels)
    with torch.no_grad():
        for tensor in (found.weight, found.bias, found.running_mean, found.running_var):
            tensor.uniform_(0.2, 2.0)
    return found


LAYERS = {
    "3x3": lambda: (nn.Conv2d(4, 6, 3, padding=1, bias=False), norm(6)),
    "strided": lambda: (nn.Conv2d(4, 6, 3, stride=2), None),
    "depthwise": lambda: (nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False), norm(4)),
    "grouped": lambda: (nn.Conv2d(4, 6, 3, groups=2), norm(6)),
    "pointwise": lambda: (nn.Conv2d(4, 6, 1), norm(6)),
    "linear": lambda: (nn.Linear(4, 6), None),
}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("clips", [True, False])
@pytest.mark.parametrize("signed", [True, False])
def test_a_layer_of_integers_is_the_simulated_one_bit_for_bit_on_ten_thousand_inputs(kind, clips, signed):
    torch.manual_seed(1)
    layer, batch_norm = LAYERS[kind]()
    stream = Stream(2, signed=signed, clips=clips, alpha=3.0)
    stream.running.copy_(torch.tensor([5.0, 4.0]))
    target = Stream(1, signed=False, clips=clips)
    source = Source(reader=1, rectified=not signed, ceiling=6.0, factor=64 / 49)
    simulated = FixedLayer(layer, batch_norm, stream, target, source=source, fraction="formula")
    enter(simulated, Stage.VALIDATION)
    shape = (COUNT, 4) if kind == "linear" else (COUNT, 4, 3, 3)
    codes, wire, values = integers(shape, torch.tensor([15, 12, 3, 0]))
    whole = IntegerLayer(simulated, wire)
    found = whole(codes)
    assert found.dtype == torch.int32
    assert whole.codes.dtype == torch.int8
    assert torch.equal(whole.reals(found), simulated(values))
    assert bool((found.abs().amax((0, *range(2, found.dim()))) <= whole.wire.most).all())


@pytest.mark.parametrize(("features", "dtype"), [(300, torch.float32), (3000, torch.float64)])
def test_floating_point_products_are_those_of_integers_at_the_bound(features, dtype):
    linear = nn.Linear(features, 3)
    with torch.no_grad():
        linear.weight.copy_(torch.sign(linear.weight) * 0.9)
    stream = Stream(1, signed=False, clips=False)
    simulated = FixedLayer(linear, None, stream, None, source=Source(), fraction="formula")
    wire = Wire(length=torch.full((features,), 6), most=torch.full((features,), 255.0, dtype=torch.float64))
    whole = IntegerLayer(simulated, wire)
    # Whether fp32 will do depends on the weights alone; the bound is that of 2^24.
    assert whole.dtype == dtype
    codes = torch.randint(0, 256, (50, features), dtype=torch.int32)
    assert torch.equal(whole(codes), codes @ whole.codes.int().T + whole.bias)


def test_integers_of_unlike_lengths_are_added_exactly_on_ten_thousand_inputs():
    one, wire, values = integers((COUNT, 3, 2, 2), torch.tensor([15, 4, 9]))
    other, other_wire, others = integers((COUNT, 3, 2, 2), torch.tensor([11, 12, 9]), seed=1)
    total = IntegerSum(wire, other_wire)
    found = total(one, other)
    assert total.wire.length.tolist() == [15, 12, 9]
    assert found.dtype == torch.int32
    assert torch.equal(real(found, total.wire), values + others)


def test_sums_that_32_bits_cannot_hold_are_of_64():
    one, wire, values = integers((100, 2, 2, 2), torch.tensor([0, 1]), most=2**30)
    other, other_wire, others = integers((100, 2, 2, 2), torch.tensor([15, 1]), most=2**30, seed=1)
    total = IntegerSum(wire, other_wire)
    found = total(one, other)
    assert found.dtype == torch.int64
    assert torch.equal(real(found, total.wire), values + others)


@pytest.mark.parametrize(("size", "stride", "whole"), [(3, 3, True), (2, 1, False), (1, 2, False)])
def test_averages_of_integers_are_the_simulated_ones(size, stride, whole):
    average = Average((size, size), (stride, stride), whole=whole)
    enter(average, Stage.VALIDATION)
    codes, wire, values = integers((COUNT, 2, 3, 3), torch.tensor([7, 3]))
    pooled = IntegerAverage(average, wire)
    assert torch.equal(real(pooled(codes), pooled.wire), average(values))


def test_a_ceiling_of_integers_is_that_of_reals():
    codes, wire, values = integers((COUNT, 2), torch.tensor([5, 9]))
    assert torch.equal(real(IntegerClamp(6, wire)(codes), wire), values.clamp(0, 6))


def test_reals_of_integers_by_channel():
    assert reals(torch.tensor([[5, 5]]), torch.tensor([0, 3])).tolist() == [[5.0, 0.625]]


@pytest.mark.parametrize("clips", [True, False])
def test_entry_and_exit_are_the_simulated_ones(clips):
    stream = Stream(1, signed=True, clips=clips)
    entry = Entry(stream, 3)
    enter(entry, Stage.VALIDATION)
    pictures = torch.randn(COUNT, 3, 2, 2) * 3
    whole = IntegerEntry(entry)
    assert whole(pictures).dtype == torch.int32
    assert torch.equal(real(whole(pictures), whole.wire), entry(pictures))
    last = FixedLayer(nn.Conv2d(3, 4, 2), None, stream, None, source=Source(), fraction="formula")
    enter(last, Stage.VALIDATION)
    layer = IntegerLayer(last, whole.wire)
    logits = IntegerExit(last, layer.wire)(layer(whole(pictures)))
    assert logits.dtype == torch.float32
    assert torch.equal(logits, last(entry(pictures)))
