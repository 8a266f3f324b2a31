from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional

from lowbit.models.autoencoder import Autoencoder
from lowbit.models.mobilenetv2 import MobileNetV2
from lowbit.models.resnet20 import ResNet20
from lowbit.quantization.eager_ready import fuse, ready
from lowbit.quantization.flow import QuantizationError


class Shared(nn.Module):
    """One ReLU for all, sums in place and not, and a layer that nobody calls."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)
        self.relu, self.relu6 = nn.ReLU(inplace=True), nn.ReLU6()
        self.spare = nn.Sequential(nn.Linear(2, 2))

    def forward(self, values):
        values = self.relu(self.norm(self.first(values)))
        shortcut = values
        values = self.relu6(self.second(values))
        values += shortcut
        total = functional.relu(values)
        return torch.add(total, values.relu()).mean((2, 3))


class Aliased(nn.Module):
    """Changes values in place and drops what the operations return."""

    def forward(self, values):
        values = values * 1
        values.add_(values)
        functional.relu(values, inplace=True)
        return values * 2


@pytest.mark.parametrize(("model", "groups"), [(ResNet20, 19), (MobileNetV2, 52), (Autoencoder, 6), (Shared, 2)])
def test_a_ready_model_computes_the_same_and_fuses_what_follows_a_layer(model, groups):
    torch.manual_seed(0)
    module = model().eval()
    pictures = torch.randn(2, 3, 32, 32)
    expected, state = module(pictures), module.state_dict()
    found = ready(module, saturates=True)
    assert torch.equal(found.module(pictures), expected)
    assert len(found.fusions) == groups
    assert found.module.state_dict().keys() == state.keys()
    assert all(found.module.state_dict()[name] is not None for name in state)
    fused = fuse(found, trains=False)
    assert torch.allclose(fused(pictures), expected, atol=1e-5)
    assert not any(isinstance(child, nn.BatchNorm2d) for child in fused.modules())


def test_a_float_state_loads_unchanged():
    source = MobileNetV2().eval()
    fresh = ready(MobileNetV2().eval(), saturates=True).module
    fresh.load_state_dict(source.state_dict(), strict=True)
    pictures = torch.randn(2, 3, 32, 32)
    assert torch.equal(fresh(pictures), source(pictures))


def test_it_shares_its_tensors_with_the_model_that_was_given():
    module = ResNet20()
    found = ready(module, saturates=True).module
    assert found.conv1a is module.conv1a
    assert found.norm9b.running_mean is module.norm9b.running_mean


def test_sums_become_functionals_with_the_relu_that_follows_alone():
    found = ready(Shared().eval(), saturates=True).module
    methods = [node.target for node in found.graph.nodes if node.op == "call_method"]
    # The first sum is read by two ReLUs, so it is one by itself.
    assert [method for method in methods if method.startswith("add")] == ["add", "add"]
    code = ready(ResNet20().eval(), saturates=True).module.code
    assert code.count(".add_relu(") == 9
    assert "iadd" not in code


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("saturates", "kinds"), [(True, {nn.ReLU: 35}), (False, {nn.ReLU: 35, nn.ReLU6: 35})])
def test_every_relu_is_a_module_of_its_own_in_the_models_mode_and_no_bound_is_lost(saturates, kinds, training):
    model = ready(MobileNetV2().train(training), saturates=saturates)
    relus = [child for child in model.module.modules() if isinstance(child, nn.ReLU | nn.ReLU6)]
    assert Counter(type(relu) for relu in relus) == kinds
    assert {relu.training for relu in relus} == {training}
    # What stands for a ReLU6 is told, or nobody could bound it.
    assert len(set(model.bounded)) == 35


def test_a_relu6_that_follows_no_layer_alone_stays():
    module = ready(Shared().eval(), saturates=True)
    assert module.bounded == ("second",)

    class Summed(nn.Module):
        def forward(self, values):
            return functional.relu6(values + values)

    module, values = ready(Summed(), saturates=True), torch.tensor([-1.0, 1.0, 5.0])
    assert module.bounded == ()
    assert torch.equal(module.module(values), torch.tensor([0.0, 2.0, 6.0]))


def test_it_can_be_fused_for_training():
    model = ready(MobileNetV2().train(), saturates=True)
    fused = fuse(model, trains=True)
    kinds = [type(child).__name__ for child in fused.modules()]
    assert kinds.count("ConvBnReLU2d") == 35
    assert kinds.count("ConvBn2d") == 17


def test_what_was_changed_in_place_is_read_as_changed():
    module, values = Aliased(), torch.tensor([-1.0, 3.0])
    assert torch.equal(module(values), torch.tensor([0.0, 12.0]))
    assert torch.equal(ready(module, saturates=True).module(values), torch.tensor([0.0, 12.0]))


def test_layers_that_are_called_twice_are_not_fused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, values):
            return torch.relu(self.layer(torch.relu(self.layer(values))))

    assert ready(Twice(), saturates=True).fusions == ()


def test_a_model_that_cannot_be_traced_is_refused():
    class Counting(nn.Module):
        def forward(self, values):
            return values.view(len(values), -1)

    with pytest.raises(QuantizationError, match=r"^Counting cannot be traced by torch\.fx: 'len' is not supported in"):
        ready(Counting(), saturates=True)
