from __future__ import annotations

import pytest
import torch
from torch import nn

from lowbit.models.mobilenetv2 import InvertedResidual, MobileNetV2


def test_the_strides_are_torchvisions():
    module = MobileNetV2()
    filters = [m for m in module.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert [m.stride[0] for m in filters] == [2, 1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1]
    assert all(m.groups == m.in_channels for m in filters[1:])


def test_the_features_are_a_thirty_second_of_the_picture():
    module = MobileNetV2(num_classes=7).eval()
    pictures = torch.zeros(1, 3, 96, 64)
    assert module.features(pictures).shape == (1, 1280, 3, 2)
    assert module(pictures).shape == (1, 7)


@pytest.mark.parametrize(("outputs", "stride", "shortcut"), [(8, 1, True), (8, 2, False), (12, 1, False)])
def test_a_block_adds_its_input_only_where_the_shapes_are_equal(outputs, stride, shortcut):
    block = InvertedResidual(8, outputs, stride=stride, expansion=6).eval()
    x = torch.randn(2, 8, 6, 6)
    projected = block.layers(x)
    assert torch.equal(block(x), x + projected if shortcut else projected)


def test_a_block_ends_without_a_non_linearity():
    """The projection is linear (section 3.3): its output takes both signs."""
    torch.manual_seed(0)
    projected = InvertedResidual(8, 8, stride=1, expansion=6).layers(torch.randn(4, 8, 6, 6))
    assert projected.min() < 0 < projected.max()


def test_batch_normalization_of_a_single_value_is_refused():
    """One 32x32 picture ends as one pixel: training needs two pictures, or a larger one."""
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        MobileNetV2()(torch.zeros(1, 3, 32, 32))
