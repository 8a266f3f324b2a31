"""Quality beside speed: the loss after a fixed number of steps from a fixed seed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from bench.data.measurement import Caveat
from bench.run.build import Step

# The batch that the loss is read on: large enough that batch normalisation has statistics to normalise with.
EVALUATION_BATCH = 32
# A loss that has doubled against the untrained model is no noise of a few steps.
DIVERGED = 2.0


@dataclass(frozen=True, kw_only=True)
class Quality:
    """The loss on one fixed batch, before the first step and after the last; a caveat when it went wrong."""

    before: float
    after: float
    steps: int
    caveats: tuple[Caveat, ...]


def train(step: Step, steps: int, seed: int) -> Quality:
    """Trains a fresh step for `steps` steps and reads the loss on a batch that training does not draw.

    A step of inference trains nothing: its loss is the mean over its own batches, the only size that a compiled or
    exported model need accept.

    The module stays in the mode it is trained in (normalisation by batch, dropout from the seed), so that the
    figure is that of the function being trained and does not wait for running averages.
    """
    batches = (step.draw(EVALUATION_BATCH, seed + 1),) if step.trains else step.batches

    def loss() -> float:
        with torch.no_grad():
            losses = [step.workload.loss(step.module(inputs), targets) for inputs, targets in batches]
            return float(torch.stack(losses).mean())

    torch.manual_seed(seed)
    before = loss()
    if step.trains:
        for index in range(steps):
            step.run(index)
    after = loss()
    return Quality(before=before, after=after, steps=steps, caveats=loss_caveats(before, after, steps))


def output_error(step: Step, reference: Step) -> float:
    """Returns how far a step's outputs are from those of another on the same batches: |a - b| / |b|, in L2.

    Zero means that not one bit of them differs. Raises TypeError where outputs are no tensors.
    """
    difference = size = torch.zeros((), dtype=torch.float64)
    with torch.no_grad():
        for inputs, _ in reference.batches:
            outputs, expected = (side.module(inputs).double() for side in (step, reference))
            difference = difference + (outputs - expected).square().sum()
            size = size + expected.square().sum()
    return float((difference / size.clamp(min=torch.finfo(size.dtype).tiny)).sqrt())


def loss_caveats(before: float, after: float, steps: int) -> tuple[Caveat, ...]:
    """Says what is wrong with a loss that is not finite or that grew."""
    if not math.isfinite(after):
        return (
            Caveat(
                code="loss-not-finite",
                message=f"the loss is {after} after {steps} steps: its times say little; lower the learning rate",
            ),
        )
    if after > DIVERGED * max(before, 1e-12):
        return (
            Caveat(
                code="loss-diverges",
                message=f"the loss grew from {before:.3g} to {after:.3g} in {steps} steps: lower the learning rate",
            ),
        )
    return ()
