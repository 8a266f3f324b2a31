"""A small net, its data, and one step: what the tests of every form of Eva train."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lowbit.optimizers.eva import Eva
from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.eva_8bit_cpu import Eva8bitCPU

FORMS = [Eva, Eva8bit, Eva8bitCPU]
forms = pytest.mark.parametrize("form", FORMS)


def step(model, optimizer, inputs, targets):
    model.zero_grad()
    loss = F.cross_entropy(model(inputs), targets)
    loss.backward()
    optimizer.step()
    return loss.detach()


def data(index=0, count=4, width=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(index)
    return torch.randn(count, width, generator=generator, dtype=dtype), torch.randint(3, (count,), generator=generator)


def net(dtype=torch.float64, width=6):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(width, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)


def values(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
