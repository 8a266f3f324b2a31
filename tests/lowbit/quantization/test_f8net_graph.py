from __future__ import annotations

import pytest
import torch
from torch import nn

from lowbit.models.mobilenetv2 import MobileNetV2
from lowbit.models.resnet20 import ResNet20
from lowbit.quantization.f8net_graph import plan, trace
from lowbit.quantization.f8net_operations import Kind
from lowbit.quantization.flow import QuantizationError


class Of(nn.Module):
    """A convolution, a step, and a classifier of what comes of it."""

    def __init__(self, step):
        super().__init__()
        self.conv, self.conv_again = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.step, self.head = step, nn.Conv2d(4, 10, 1)

    def forward(self, pictures):
        return self.head(self.step(self, self.conv(pictures)))


def planned(step):
    model = Of(step) if not isinstance(step, nn.Module) else step
    return plan(trace(model, torch.randn(2, 3, 8, 8)))


@pytest.mark.parametrize(
    ("model", "layers", "streams"),
    # Of ResNet-20 all blocks' sums are one stream: no convolution stands in its shortcuts.
    [(ResNet20, 20, 1 + 1 + 9 + 1), (MobileNetV2, 53, 1 + 52 - 10 + 1)],
)
def test_layers_and_streams_of_models(model, layers, streams):
    found = plan(trace(model(), torch.randn(2, 3, 32, 32)))
    assert sum(value.kind is Kind.LAYER for value in found.values) == layers
    assert len({found.stream(value.stream) for value in found.values}) == streams


def test_signs_and_factors_are_followed():
    found = planned(lambda _, x: torch.relu(nn.functional.adaptive_avg_pool2d(torch.relu(x), 1)))
    (_, conv, relu, average, again, head) = found.values
    assert [value.unsigned for value in (conv, relu, average, again, head)] == [False, True, True, True, False]
    assert average.factor == again.factor == 1
    found = planned(lambda _, x: nn.functional.avg_pool2d(x, 3))
    assert found.values[2].factor == pytest.approx(8 / 9)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda _, x: torch.sigmoid(x), "no fixed-point form of sigmoid"),
        (lambda _, x: x * 2, "no fixed-point form of mul"),
        (lambda _, x: x + 1.0, "no fixed-point form of add"),
        (lambda _, x: nn.functional.pad(x, (1, 1), value=1.0), "no fixed-point form of pad"),
        (lambda _, x: nn.functional.avg_pool2d(x, 3, padding=1), "pads, rounds up or has a divisor"),
        (lambda _, x: nn.functional.adaptive_avg_pool2d(x, 2), "pools to more than one place"),
        (
            lambda _, x: x + nn.functional.avg_pool2d(nn.functional.pad(x, (1,) * 4), 3, 1),
            "adds values of unlike scale or shape",
        ),
        (lambda model, x: model.conv_again(model.conv_again(x)), "conv_again_1 runs twice"),
    ],
)
def test_what_has_no_fixed_point_form_is_named(step, message):
    with pytest.raises(QuantizationError, match=message):
        planned(step)


class TwoOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, pictures):
        return self.conv(pictures), pictures


def test_an_output_that_is_not_of_one_layer_is_refused():
    for model in (TwoOutputs(), nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())):
        with pytest.raises(QuantizationError, match="output must be that of its last"):
            planned(model)
