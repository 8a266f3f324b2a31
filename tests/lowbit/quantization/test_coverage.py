from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lowbit.quantization import eager, kbit, torch_ao
from lowbit.quantization.coverage import Coverage, coverage
from lowbit.quantization.flow import calibrate, deployed
from lowbit.quantization.stage import Stage, Staged, enter
from tests.lowbit.quantization.small import Small, batches


def test_a_float_model_has_no_quantized_layer():
    module = Small()
    counted = coverage(module, copy.deepcopy(module))
    assert counted == Coverage(
        quantized=0, eligible=3, cause="every layer was left in float, and the flow does not say why"
    )


def test_a_model_without_layers_has_none_to_quantize():
    module = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3))
    assert coverage(module, module).cause == "the model has no convolution and no linear layer"


def test_every_kind_of_layer_is_eligible_and_attention_counts_its_projections():
    layers = [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d]
    module = nn.Sequential(*[layer(2, 2, 1) for layer in layers], nn.Linear(2, 2), nn.MultiheadAttention(8, 2))
    assert coverage(module, module).eligible == 7 + 2


def test_a_layer_that_is_used_twice_is_one():
    layer = nn.Linear(2, 2)
    assert coverage(nn.Sequential(layer, layer), nn.Linear(2, 2)).eligible == 1


def test_layers_of_the_library_count_where_their_stage_rounds():
    module = Small()
    flow = kbit.flow(kbit.Settings(first_and_last=False))
    prepared = flow.prepare(copy.deepcopy(module), batches())
    calibrate(flow, prepared, batches())
    counted = coverage(module, prepared)
    assert counted.quantized == 0
    assert counted.cause.startswith("the model is in stage CALIBRATION, in which nothing is rounded: enter QAT")
    flow.enter(prepared, Stage.QAT)
    cause = (
        "left in float: 1 Conv2d, 1 Linear; k-bit flows leave the first and the last layer in float, where sources "
        "disagree; -all-layers at the end of the name takes them too"
    )
    assert coverage(module, prepared) == Coverage(quantized=1, eligible=3, cause=cause)
    assert coverage(module, deployed(flow, prepared)) == Coverage(quantized=1, eligible=3, cause=cause)


def test_layers_that_a_setting_leaves_in_float_are_not_laid_to_the_first_and_last():
    module = Small()
    prepared = kbit.prepare(copy.deepcopy(module), kbit.Settings(first_and_last=True), {"block": None})
    enter(prepared, Stage.QAT)
    cause = "k-bit flows take every Conv2d and Linear that no setting of its own leaves in float"
    assert coverage(module, prepared).cause == f"left in float: 1 Conv2d; {cause}"


@pytest.mark.parametrize(("says", "quantized"), [(True, 1), (False, 0)])
def test_a_module_says_itself_whether_its_weight_is_rounded(says, quantized):
    class Own(Staged):
        quantizes_weight = says

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)

    after = Own()
    enter(after, Stage.VALIDATION)
    assert coverage(nn.Linear(2, 2), after).quantized == quantized


def test_a_fake_quantizer_counts_where_it_is_on():
    module = Small()
    flow = eager.qat("x86")
    prepared = flow.prepare(copy.deepcopy(module), batches())
    assert coverage(module, prepared).cause.startswith("the model is in stage CALIBRATION")
    flow.enter(prepared, Stage.QAT)
    assert coverage(module, prepared) == Coverage(quantized=3, eligible=3)


def test_a_half_precision_weight_is_no_low_bit_weight():
    with torch_ao.quiet():
        after = torch_ao.eager().quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear}, dtype=torch.float16)
    assert coverage(nn.Linear(4, 4), after).quantized == 0


def test_what_a_flow_says_of_what_it_leaves_is_the_cause():
    after = nn.Sequential(nn.Linear(2, 2))
    after.left_in_float = "only convolutions are taken: add one"
    assert coverage(nn.Linear(2, 2), after).cause == "only convolutions are taken: add one"
