"""Eva as published, layer by layer and synchronising freely, as a row beside ours."""

from __future__ import annotations

import torch

from lowbit.plugin.optimizers import LR, MOMENTUM, WEIGHT_DECAY
from tests.lowbit.optimizers.reference import ReferenceEva


class _Reference(torch.optim.Optimizer):
    """Gives the transcription the surface of an optimizer."""

    def __init__(self, module):
        super().__init__(module.parameters(), {"lr": LR})
        self.eva = ReferenceEva(module, LR, MOMENTUM, WEIGHT_DECAY)

    def step(self, closure=None):
        self.eva.step()


def register(registry):
    @registry.optimizer("eva-reference")
    def eva_reference(module):
        """Eva transcribed from its paper, layer by layer."""
        return _Reference(module)
