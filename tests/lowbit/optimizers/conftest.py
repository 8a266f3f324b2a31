from __future__ import annotations

import pytest
import torch
from torch import nn


@pytest.fixture
def small_net():
    """A conv net with stride, padding, with and without bias; in fp64."""

    def make(seed=0, dtype=torch.float64):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 8, (3, 2), stride=(2, 1), bias=False),
            nn.ReLU(),
            nn.Conv2d(8, 5, 2, stride=3, padding=(1, 2)),
            nn.Flatten(),
            nn.LazyLinear(7, bias=False),
            nn.Tanh(),
            nn.Linear(7, 4),
        ).to(dtype)

    return make


@pytest.fixture
def batch():
    """Inputs and targets for small nets."""

    def make(count=3, seed=0, dtype=torch.float64, size=9):
        generator = torch.Generator().manual_seed(seed)
        return (
            torch.randn(count, 3, size, size, generator=generator, dtype=dtype),
            torch.randint(4, (count,), generator=generator),
        )

    return make
