"""Random pictures, drawn afresh for every batch."""

from __future__ import annotations

import torch

from lowbit.data.images import CLASSES


def sample(batch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws standard-normal pictures [batch, 3, 32, 32] and uniform labels [batch]."""
    images = torch.randn(batch, 3, 32, 32, generator=generator)
    return images, torch.randint(CLASSES, (batch,), generator=generator)
