from __future__ import annotations

import pytest
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from lowbit.quantization.f8net_operations import AVERAGES, WHOLE_AVERAGES, Kind, average_of, shape_kind, shape_of
from lowbit.quantization.flow import QuantizationError


class Of(nn.Module):
    def __init__(self, step):
        super().__init__()
        self.step = step

    def forward(self, x):
        return self.step(x)


def traced(step, size=6):
    """The node of a step, its function or class, its module, and the node before it."""
    module = fx.symbolic_trace(Of(step))
    ShapeProp(module).propagate(torch.randn(2, 3, size, size))
    source, node, _ = module.graph.nodes
    own = module.get_submodule(node.target) if node.op == "call_module" else None
    return node, node.target if own is None else type(own), own, source


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (nn.MaxPool2d(2), Kind.MAX),
        (lambda x: functional.max_pool2d(x, 2), Kind.MAX),
        (nn.Flatten(), Kind.FLATTEN),
        (lambda x: x.flatten(1), Kind.FLATTEN),
        (lambda x: torch.flatten(x, 1), Kind.FLATTEN),
        (lambda x: x.flatten(2), None),
        (nn.Dropout(0.1), Kind.DROPOUT),
        (lambda x: functional.pad(x, (0, 0, 0, 0, 1, 2)), Kind.PAD),
        (lambda x: functional.pad(x, (1, 1, 1, 1), mode="reflect"), None),
        (lambda x: functional.pad(x, (1, 1), value=2.0), None),
        (nn.Sigmoid(), None),
    ],
)
def test_what_leaves_numbers_as_they_are(step, kind):
    node, what, _, _ = traced(step)
    assert shape_kind(node, what) is kind


@pytest.mark.parametrize(
    ("step", "kernel", "stride", "whole"),
    [
        (nn.AdaptiveAvgPool2d(1), (6, 6), (6, 6), True),
        (lambda x: functional.adaptive_avg_pool2d(x, (1, 1)), (6, 6), (6, 6), True),
        (nn.AvgPool2d(2), (2, 2), (2, 2), False),
        (lambda x: functional.avg_pool2d(x, (3, 2), stride=(1, 2)), (3, 2), (1, 2), False),
        (lambda x: functional.avg_pool2d(x, kernel_size=1, stride=2), (1, 1), (2, 2), False),
    ],
)
def test_averages_as_they_are_written(step, kernel, stride, whole):
    node, what, module, source = traced(step)
    assert what in AVERAGES | WHOLE_AVERAGES
    average = average_of(node, what, module, source)
    assert (average.kernel, average.stride, average.whole) == (kernel, stride, whole)
    values = torch.randn(2, 3, 6, 6)
    assert torch.allclose(average(values), step(values), atol=1e-6)
    assert shape_of(node) == tuple(step(values).shape)


@pytest.mark.parametrize(
    "step",
    [
        nn.AvgPool2d(2, padding=1),
        nn.AvgPool2d(4, ceil_mode=True),
        nn.AvgPool2d(2, divisor_override=3),
        nn.AdaptiveAvgPool2d(2),
    ],
)
def test_averages_that_are_no_sum_and_shift_are_refused(step):
    node, what, module, source = traced(step)
    with pytest.raises(QuantizationError, match=f"{node.name} p"):
        average_of(node, what, module, source)
