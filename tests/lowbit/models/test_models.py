"""What all models promise; tests of one model's own structure stand in its file."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lowbit.models.autoencoder import Autoencoder
from lowbit.models.mobilenetv2 import MobileNetV2
from lowbit.models.resnet20 import ResNet20
from lowbit.models.vit import ViT

MODELS = [ResNet20, Autoencoder, ViT, MobileNetV2]


@pytest.mark.parametrize(
    ("model", "parameters", "tensors", "eva_modules"),
    [
        (ResNet20, 305_114, 78, 20),
        (Autoencoder, 7_415_602, 16, 8),
        (ViT, 9_523_722, 74, 26),
        (MobileNetV2, 2_236_682, 158, 53),
    ],
)
def test_sizes_are_the_published_ones(model, parameters, tensors, eva_modules):
    module = model()
    assert sum(p.numel() for p in module.parameters()) == parameters
    assert len(list(module.parameters())) == tensors
    assert sum(type(m) in {nn.Linear, nn.Conv2d} for m in module.modules()) == eva_modules


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("batch", "dtype"), [(1, torch.float32), (4, torch.float32), (4, torch.float64)])
def test_a_step_gives_every_parameter_a_finite_gradient(model, batch, dtype):
    torch.manual_seed(0)
    module = model().to(dtype)
    # MobileNetV2 shrinks 32x32 to one pixel, and batch normalization of one single value is not defined.
    side = 64 if model is MobileNetV2 and batch == 1 else 32
    pictures = torch.randn(batch, 3, side, side, dtype=dtype)
    loss = nn.functional.cross_entropy(module(pictures), torch.arange(batch))
    loss.backward()
    assert torch.isfinite(loss)
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
