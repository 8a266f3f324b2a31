"""A fully connected autoencoder of 3x32x32 pictures."""

from __future__ import annotations

import torch
from torch import nn

WIDTHS = (3072, 1000, 500, 250, 30, 250, 500, 1000, 3072)


class Autoencoder(nn.Module):
    """Eight linear layers, 3072-1000-500-250-30 and back, with ReLU except after the fourth and the last.

    Takes pictures of shape [batch, 3, 32, 32] and gives [batch, 3072]. 7,415,602 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for index in range(1, len(WIDTHS)):
            layers.append(nn.Linear(WIDTHS[index - 1], WIDTHS[index]))
            if index not in {4, 8}:
                layers.append(nn.ReLU())
        self.layers = nn.Sequential(*layers)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Returns the reconstruction of each picture, flattened."""
        output: torch.Tensor = self.layers(pictures)
        return output
