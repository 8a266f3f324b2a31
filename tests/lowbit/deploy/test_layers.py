from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lowbit.deploy.layers import PER_MAC, costs, weight_bytes
from lowbit.deploy.trace import trace


class Twice(nn.Module):
    """A layer that is used twice, an addition and an activation of its own, and a view at the end."""

    def __init__(self):
        super().__init__()
        self.layer, self.drop = nn.Linear(4, 4), nn.Dropout()

    def forward(self, values):
        values = self.drop(functional.relu(self.layer(values) + values))
        return self.layer(values).view(-1)


def by_name(module, *values):
    return {cost.name: cost for cost in costs(trace(module, values))}


def test_a_layer_that_runs_twice_has_one_row_with_both_and_its_weights_once():
    found = by_name(Twice().eval(), torch.randn(2, 4))
    assert list(found) == ["(between)", "layer"]
    assert found["layer"].operations == 2 * PER_MAC * 2 * 4 * 4
    assert found["layer"].weights == {"float32": 4 * (16 + 4)}
    assert found["layer"].inputs == found["layer"].outputs == {"float32": 2 * 32}


def test_what_a_module_computes_between_its_layers_loads_and_stores_by_itself():
    between = by_name(Twice().eval(), torch.randn(2, 4))["(between)"]
    assert (between.kind, between.is_between, between.shape) == ("Twice", True, (2, 4))
    assert between.calls == {"aten::add": 1, "aten::relu": 1}
    # Two operands of the addition, one of the activation.
    assert (between.inputs, between.outputs) == ({"float32": 3 * 32}, {"float32": 2 * 32})
    assert between.external == 32


def test_what_stays_inside_of_a_layer_is_nobodys_traffic():
    class Scaled(nn.Linear):
        def forward(self, values):
            return super().forward(values * 2).relu()

    found = by_name(nn.Sequential(Scaled(4, 8, bias=False), nn.ReLU()), torch.randn(2, 4))
    assert set(found) == {"0", "1"}
    layer = found["0"]
    assert (layer.weights, layer.inputs, layer.outputs) == ({"float32": 128}, {"float32": 32}, {"float32": 64})
    assert (layer.loaded, layer.stored, layer.external) == (160, 64, 32)
    assert layer.intensity == 2 * 2 * 4 * 8 / 224


def test_a_model_that_is_a_layer_has_a_row_for_itself():
    (cost,) = costs(trace(nn.Conv2d(2, 3, 1), torch.randn(1, 2, 5, 5)))
    assert (cost.name, cost.kind, cost.is_between, cost.external) == ("(model)", "Conv2d", False, 4 * (2 + 3) * 25)


def test_rows_add_up_to_the_trace():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2)).eval()
    traced = trace(module, torch.randn(2, 3, 8, 8))
    assert sum(cost.operations for cost in costs(traced)) == 2 * sum(each.macs for each in traced.operations)
    tensors = [*module.parameters(), *module[1].buffers()]
    # All but the count of batches, which eval mode does not read.
    assert weight_bytes(traced) == sum(4 * tensor.numel() for tensor in tensors if tensor.is_floating_point())


def test_a_wrapper_does_not_change_the_names_of_layers():
    class Wrapper(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, values):
            return self.module(values)

    assert list(by_name(Wrapper(Wrapper(Twice().eval())), torch.randn(2, 4))) == ["(between)", "layer"]
