from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from lowbit.quantization import diagnosis, flows
from lowbit.quantization.diagnosis import Difference, Stored
from lowbit.quantization.flow import quantized
from lowbit.quantization.kbit import convert, prepare
from lowbit.quantization.stage import Stage, enter
from tests.lowbit.quantization.test_kbit import trained


def test_nothing_that_moved_is_nothing_found():
    assert diagnosis.observers_live([]) is None
    finding = diagnosis.observers_live(["first.low", "first.high", "second.low"])
    assert finding.code == "observers-live"
    assert "first.low and 2 more changed" in finding.message
    assert "VALIDATION" in finding.message


@pytest.mark.parametrize(("points", "p", "found"), [(4.7, 1e-6, True), (4.7, 0.02, False), (-4.7, 1e-6, False)])
def test_a_gain_beyond_chance_is_more_training_and_not_quantization(points, p, found):
    finding = diagnosis.float_unfinished(points, p)
    assert (finding is not None) == found
    if finding is not None:
        assert finding.code == "float-unfinished"
        assert "4.7 points better than the float one (p = 1e-06): more epochs" in finding.message


@pytest.fixture
def torch_fake_quantizers():
    """One of each kind of torch's fake-quantizers with symmetric weights of a few bits, after one forward."""
    from torch.ao import quantization

    with warnings.catch_warnings():
        # torch announces the removal of this module and of observers' old arguments at every construction.
        warnings.simplefilter("ignore")

        def make(form, bits):
            return form(
                observer=quantization.MovingAverageMinMaxObserver,
                quant_min=-(2 ** (bits - 1)),
                quant_max=2 ** (bits - 1) - 1,
                dtype=torch.qint8,
                qscheme=torch.per_tensor_symmetric,
            )

        def both(bits):
            made = nn.ModuleDict(
                {
                    "fused": make(quantization.FusedMovingAvgObsFakeQuantize, bits),
                    "plain": make(quantization.FakeQuantize, bits),
                }
            )
            values = torch.linspace(-0.5, 1, 50)
            for quantizer in made.values():
                quantizer(values)
            return made

        yield both


@pytest.mark.parametrize(("bits", "ratio"), [(8, 1.0039), (4, 1.0714), (2, 1.5)])
def test_torch_s_fused_quantizer_trains_with_another_scale_than_it_converts_with(torch_fake_quantizers, bits, ratio):
    ratios = diagnosis.scale_ratios(torch_fake_quantizers(bits))
    assert ratios["fused"] == pytest.approx(ratio, abs=1e-4)
    assert ratios["plain"] == 1
    finding = diagnosis.scales_differ(ratios)
    assert finding.code == "scale-ratio"
    assert (
        f"1 of 2 quantizers train with another scale than conversion takes, fused with {ratio:.4f}" in finding.message
    )
    assert diagnosis.scales_differ({"plain": ratios["plain"]}) is None


def test_k_bit_quantizers_have_one_function_for_both_scales():
    assert diagnosis.scale_ratios(trained()[0]) == {}


def test_bytes_are_those_of_parameters_and_buffers():
    found = diagnosis.stored(nn.Sequential(nn.Linear(10, 4), nn.BatchNorm1d(4)))
    assert found == Stored(floats=4 * (40 + 4 + 16), integers=8)


def test_what_two_names_share_counts_once_and_its_copies_apart():
    layer = nn.Linear(10, 4)
    alone, twice = diagnosis.stored(layer), diagnosis.stored(nn.ModuleList([layer, layer]))
    assert alone == Stored(floats=176, integers=0)
    assert twice == Stored(floats=176, integers=0, shared=176)


class Tied(nn.Module):
    """Inner layers that share a weight, one of them by being the same module under two names."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = (nn.Conv2d(given, 16, 3, padding=1) for given in (3, 16, 16))
        self.again, self.two.weight = self.one, self.one.weight
        self.classifier = nn.Linear(16, 10)

    def forward(self, pictures):
        x = torch.relu(self.one(torch.relu(self.stem(pictures))))
        x = torch.relu(self.two(torch.relu(self.again(x))))
        return self.classifier(x.mean((2, 3)))


@pytest.mark.parametrize("name", ["kbit-8", "eager-static-x86"])
@pytest.mark.filterwarnings("ignore")  # torch announces the removal of its flows.
def test_copies_of_weights_that_were_shared_are_why_a_model_is_not_smaller(name):
    flow, pictures = flows.flow(name), [torch.randn(2, 3, 8, 8)]
    before = diagnosis.stored(Tied())
    module = quantized(flow, Tied().eval(), pictures, trains=False)
    finding = diagnosis.not_smaller(before, diagnosis.stored(module))
    assert finding.code == "not-smaller"
    assert f"layers of the float model share weights, which saves it {before.shared:,} bytes" in finding.message
    assert "leave those in float, or untie them" in finding.message


def test_a_k_bit_model_is_smaller_where_most_weights_are_integers():
    settings = {"modules": {}, "wide_output": None}
    whole = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 256, 3), nn.Conv2d(256, 8, 3), nn.Conv2d(8, 4, 1))
    before = diagnosis.stored(whole)
    module = prepare(whole, **settings)
    enter(module, Stage.CALIBRATION)
    module(torch.randn(1, 3, 8, 8))
    after = diagnosis.stored(convert(module))
    assert diagnosis.not_smaller(before, after) is None
    assert after.whole < 0.4 * before.whole


@pytest.mark.parametrize(
    ("after", "why"),
    [
        (Stored(floats=1000, integers=0), "no weight is stored as integers"),
        (Stored(floats=1000, integers=250), "the float weights are kept beside the integers"),
        (Stored(floats=980, integers=5), "only 2 % of the weights are integers"),
        (Stored(floats=100, integers=225), None),
    ],
)
def test_why_a_model_is_not_smaller(after, why):
    finding = diagnosis.not_smaller(Stored(floats=1000, integers=0), after)
    assert (finding is None) == (why is None)
    if finding is not None:
        assert finding.code == "not-smaller"
        assert why in finding.message
        assert ";" in finding.message


def test_sharing_that_the_quantized_model_keeps_is_no_cause():
    before = Stored(floats=1000, integers=0, shared=500)
    after = Stored(floats=1000, integers=250, shared=500)
    assert "the float weights are kept beside the integers" in diagnosis.not_smaller(before, after).message


def test_the_layer_that_departs_most_is_named_too():
    found = [Difference(layer="a", lsb=0.5), Difference(layer="b", lsb=1.5), Difference(layer="c", lsb=40.0)]
    assert "first at b by 1.5 LSB of its output, at most at c by 40.0, in 2 of 3" in diagnosis.departs(found).message
