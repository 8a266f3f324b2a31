"""One epoch after another: Adam or SGD, slower where the training loss stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lowbit.data.images import ImageSet
from lowbit.pipeline.plan import Algorithm
from lowbit.quantization.flow import QuantizationError

MOMENTUM = 0.9
# The learning rate is halved when two more epochs did not lower the mean training loss. The test part decides nothing.
FACTOR, PATIENCE = 0.5, 2

Loss = Callable[[Any, Any], torch.Tensor]
Transform = Callable[[torch.Tensor], torch.Tensor]


def optimizer_of(module: nn.Module, algorithm: Algorithm, lr: float) -> torch.optim.Optimizer:
    """Returns the optimizer of all parameters of a model."""
    if algorithm == "adam":
        return torch.optim.Adam(module.parameters(), lr)
    return torch.optim.SGD(module.parameters(), lr, momentum=MOMENTUM)


def scheduler_of(optimizer: torch.optim.Optimizer) -> ReduceLROnPlateau:
    """Returns what halves the learning rate on a plateau of the training loss."""
    return ReduceLROnPlateau(optimizer, factor=FACTOR, patience=PATIENCE)


def batches_of(count: int, batch: int, seed: int, epoch: int) -> list[torch.Tensor]:
    """Returns the indices of an epoch's batches, mixed by seed and epoch alone.

    All are whole, so that batch normalization never meets a single example and an exported graph no other size; what
    is left over comes in other epochs. A set smaller than a batch is one.
    """
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(count, generator=generator)
    return [order[start : start + batch] for start in range(0, max(count - batch, 0) + 1, batch)]


def train_epoch(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Loss,
    images: ImageSet,
    batches: list[torch.Tensor],
    advance: Callable[[int], None],
) -> float:
    """Trains a model, in the mode that it is in, on some batches, and returns their mean loss.

    `advance` is called with the number of batches that are done. Raises QuantizationError for a loss that is not
    finite.
    """
    total = torch.zeros((), dtype=torch.float64)
    for number, chosen in enumerate(batches, 1):
        optimizer.zero_grad()
        value = loss(module(images.images[chosen]), images.labels[chosen])
        value.backward()
        optimizer.step()
        total += value.detach()
        advance(number)
    found = float(total / len(batches))
    if not torch.isfinite(total):
        raise QuantizationError("training diverged: the loss is NaN or infinite; give a lower lr")
    return found
