"""Models that can be deployed, and models that cannot, each for one reason."""

from __future__ import annotations

import torch
from torch import nn


class Tiny(nn.Module):
    """A linear layer and a ReLU."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, values):
        return nn.functional.relu(self.layer(values))


class Branchy(Tiny):
    def forward(self, values):
        values = super().forward(values)
        if values.sum() > 0:
            return -values
        return values


class Counting(Tiny):
    def forward(self, values):
        return super().forward(values) * values.mean().item()


class Selecting(Tiny):
    def forward(self, values):
        return super().forward(values)[torch.nonzero(values[:, 0])]


class Broken(Tiny):
    def forward(self, values):
        return self.absent(values)


class Two(Tiny):
    def forward(self, values, others):
        return super().forward(values + others)
