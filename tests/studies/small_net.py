"""A plug-in with a small net that learns the digits in seconds: two convolutions, two linear layers, no normalization.

Behind batch normalization the mean gradient of a layer's outputs is zero but for rounding, and Eva little more than SGD
of another length; here its statistics matter, in every layer.
"""

from __future__ import annotations

import torch
from torch import nn

from bench import Workload


def register(registry):
    @registry.model("small-net")
    def small_net(device, dtype, seed):
        """Two convolutions and two linear layers without normalization, 136,810 parameters."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = nn.Sequential(
                nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(),
                nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
                nn.Flatten(), nn.Linear(32 * 8 * 8, 64), nn.ReLU(), nn.Linear(64, 10),
            )  # fmt: skip
        return Workload(module=module.to(device, dtype), loss=nn.functional.cross_entropy)
