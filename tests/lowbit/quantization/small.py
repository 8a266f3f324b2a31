"""A small network with what quantization flows stumble over, and batches for it."""

from __future__ import annotations

import torch
from torch import nn

from lowbit.quantization.flow import calibrate
from lowbit.quantization.stage import Stage


class Small(nn.Module):
    """A layer with batch norm and ReLU6, a block with a shortcut that pools over single values, and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm, self.relu = nn.Conv2d(3, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU6()
        self.block, self.block_norm = nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.drop, self.classifier = nn.Dropout(0.2), nn.Linear(8, 10)

    def forward(self, pictures):
        values = self.relu(self.norm(self.stem(pictures)))
        shortcut = nn.functional.avg_pool2d(values, kernel_size=1, stride=2)
        values = self.block_norm(self.block(values))
        values += shortcut
        return self.classifier(self.drop(torch.relu(values).mean((2, 3))))


def batches(count=2, size=4):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 32, 32, generator=generator) for _ in range(count)]


def trained(flow, model=Small):
    """A model that was calibrated and trained for two steps, in stage VALIDATION."""
    torch.manual_seed(0)
    module = flow.prepare(model(), batches())
    calibrate(flow, module, batches())
    flow.enter(module, Stage.QAT)
    optimizer = torch.optim.SGD(module.parameters(), 0.05)
    for pictures in batches():
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(pictures), torch.arange(len(pictures))).backward()
        optimizer.step()
    flow.enter(module, Stage.VALIDATION)
    return module


def departure(outputs, expected):
    """How far outputs are from others, as a part of their norm."""
    return float((outputs - expected).detach().norm() / expected.detach().norm())
