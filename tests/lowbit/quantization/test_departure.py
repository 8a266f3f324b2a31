from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from lowbit.quantization import departure, diagnosis, flows
from lowbit.quantization.flow import calibrate, deployed
from lowbit.quantization.kbit import convert
from lowbit.quantization.stage import Stage, enter
from tests.lowbit.quantization.test_kbit import Small, trained


class FixedPoint(Small):
    """The small model, with an average that has a fixed-point form."""

    def forward(self, pictures):
        x = torch.relu(self.norm(self.middle(torch.relu(self.stem(pictures)))))
        x = nn.functional.adaptive_avg_pool2d(self.depthwise(x), 1).flatten(1)
        return self.classifier(torch.relu(self.hidden(x)))


def output(values, *, rectified=False):
    return departure.Output(values=values, rectified=rectified)


def run(module, pictures, layers):
    return departure.outputs(module, pictures, layers)


def test_a_converted_k_bit_model_departs_nowhere():
    layers = departure.layers_of(Small())
    module, pictures = trained()
    enter(module, Stage.VALIDATION)
    before = run(module, pictures, layers)
    after = run(convert(copy.deepcopy(module)), pictures, layers)
    assert list(before) == [*layers, departure.OUTPUT]
    found = departure.differences(before, after)
    assert [difference.lsb for difference in found] == [0] * 5
    assert diagnosis.departs(found) is None


@pytest.mark.parametrize("name", ["f8net", "f8net-search"])
def test_a_converted_fixed_point_model_departs_nowhere_at_its_last_layer_either(name):
    layers, flow = departure.layers_of(Small()), flows.flow(name)
    torch.manual_seed(0)
    pictures = torch.randn(4, 3, 32, 32)
    module = flow.prepare(FixedPoint(), [pictures])
    calibrate(flow, module, [pictures])
    enter(module, Stage.VALIDATION)
    before = run(module, pictures, layers)
    found = departure.differences(before, run(deployed(flow, module), pictures, layers))
    assert [difference.lsb for difference in found] == [0] * 5


def test_the_first_layer_that_departs_is_named():
    layers = departure.layers_of(Small())
    module, pictures = trained()
    enter(module, Stage.VALIDATION)
    before = run(module, pictures, layers)
    wrong = convert(copy.deepcopy(module))
    wrong.depthwise.codes += 3
    found = departure.differences(before, run(wrong, pictures, layers))
    finding = diagnosis.departs(found)
    assert finding.code == "departs"
    assert "first at depthwise by" in finding.message
    assert "in 3 of 5 layers" in finding.message


@pytest.mark.parametrize(("off", "found"), [(0, None), (0.9, None), (1.1, "by 1.1 LSB")])
def test_a_quantized_output_counts_in_units_of_its_own_scale(off, found):
    with warnings.catch_warnings():
        # torch announces that tensors of quantized dtypes will go.
        warnings.simplefilter("ignore")
        converted = torch.quantize_per_tensor(torch.tensor([0.0, 1.0, 2.0]), 0.5, 0, torch.quint8)
    trained_ = torch.tensor([0.0, 1.0, 2.0 + 0.5 * off])
    finding = diagnosis.departs(departure.differences({"conv": output(trained_)}, {"conv": output(converted)}))
    assert (finding and found in finding.message) == (True if found else None)


def test_what_a_quantizer_behind_the_layer_clamps_is_no_departure():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = torch.quantize_per_tensor(torch.tensor([-3.0, 1.0, 500.0]), 0.5, 0, torch.quint8)
    before = {"conv": output(torch.tensor([-3.0, 1.0, 500.0]))}
    assert departure.differences(before, {"conv": output(converted)})[0].lsb == 0


def test_layers_that_a_graph_replaced_are_left_out():
    before = {"gone": output(torch.ones(2)), "output": output(torch.ones(3))}
    after = {"output": output(torch.ones(3))}
    assert [found.layer for found in departure.differences(before, after)] == ["output"]


def test_a_layer_that_took_in_its_relu_is_compared_behind_it():
    before = {"conv": output(torch.tensor([-1.0, 2.0]))}
    assert departure.differences(before, {"conv": output(torch.tensor([0.0, 2.0]), rectified=True)})[0].lsb == 0
    assert departure.differences(before, {"conv": output(torch.tensor([0.0, 2.0]))})[0].lsb > 1
