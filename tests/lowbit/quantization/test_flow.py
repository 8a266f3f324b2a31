from __future__ import annotations

import pytest
import torch
from torch import nn

from lowbit.quantization import flows
from lowbit.quantization.flow import QuantizationError, calibrate, deployed
from lowbit.quantization.stage import Stage

PICTURES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
CALIBRATED = ["eager-static-x86", "eager-qat-x86", "fx-static-x86", "fx-qat-x86", "kbit-8", "f8net", "f8net-search"]


def model():
    inner = [nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU6(), *inner)


@pytest.mark.filterwarnings("ignore")  # torch announces the removal of its flows.
@pytest.mark.parametrize("name", CALIBRATED)
def test_what_was_prepared_and_never_calibrated_is_refused(name):
    flow = flows.flow(name)
    module = flow.prepare(model(), [PICTURES])
    with pytest.raises(QuantizationError, match=r"nothing was calibrated; show|saw NaN.* or nothing at all"):
        deployed(flow, module)
    calibrate(flow, module, [PICTURES])
    assert deployed(flow, module)(PICTURES).shape == (2, 10)


@pytest.mark.filterwarnings("ignore")  # torch announces the removal of its flows.
@pytest.mark.parametrize("name", ["kbit-8", "f8net", "fx-qat-x86"])
def test_training_is_calibration_enough(name):
    flow = flows.flow(name)
    module = flow.prepare(model(), [PICTURES])
    flow.enter(module, Stage.QAT)
    module(PICTURES)
    assert deployed(flow, module)(PICTURES).shape == (2, 10)


@pytest.mark.filterwarnings("ignore")  # torch announces the removal of its flows.
@pytest.mark.parametrize("name", ["eager-dynamic-x86", "fx-dynamic-x86", "dorefa-4-4-4"])
def test_flows_without_ranges_to_learn_need_no_calibration(name):
    flow = flows.flow(name)
    assert deployed(flow, flow.prepare(model(), [PICTURES]))(PICTURES).shape == (2, 10)


def test_a_model_that_is_converted_half_calibrated_is_refused_by_the_name_of_its_layer():
    flow = flows.flow("f8net")
    module = flow.prepare(model(), [PICTURES])
    calibrate(flow, module, [PICTURES])
    module.get_submodule("5").stream.seen.zero_()
    with pytest.raises(QuantizationError, match=r"^5: nothing was calibrated; show the prepared model batches"):
        deployed(flow, module)
