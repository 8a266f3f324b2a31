"""An image set in memory, from which batches are drawn."""

from __future__ import annotations

from dataclasses import dataclass

import torch

CLASSES = 10


class NotAnImageSet(ValueError):
    """Not labelled 3x32x32 pictures; the message says what was found and what is allowed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Labelled pictures: `images` float32 [count, 3, 32, 32], `labels` int64 [count] in 0..9."""

    images: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def from_bytes(cls, images: torch.Tensor, labels: torch.Tensor) -> ImageSet:
        """Makes a set of uint8 pictures, normalized to mean 0 and standard deviation 1 over the whole set.

        `images` has the shape [count, 3, 32, 32], `labels` [count] of any whole-number dtype. Pictures of one single
        color, which have no deviation, become 0.
        """
        scaled = images.to(torch.float32) / 255
        deviation, mean = torch.std_mean(scaled)
        return cls(images=(scaled - mean) / deviation.clamp_min(1e-6), labels=labels.to(torch.int64))

    def sample(self, batch: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draws pictures with replacement: inputs float32 [batch, 3, 32, 32] and targets int64 [batch]."""
        chosen = torch.randint(len(self.labels), (batch,), generator=generator)
        return self.images[chosen], self.labels[chosen]
