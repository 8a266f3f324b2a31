"""One step trained on batches that are drawn anew, and looked at on what is held out; only its steps are timed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from bench.data.target import Checkpoint
from bench.errors import InvalidData, StepbenchError
from bench.run.build import Step
from bench.run.clock import Clock
from bench.run.measure import plain, quiet_collector

# Pictures that a model looks at together: few enough that none needs more memory for it than for a step.
LOOKED_AT = 256
# Seeds of the batches of one training are further apart than any training is long.
STRIDE = 1_000_003


class TrainedStep:
    """A step under way to a target.

    Batches and dropout follow from the seed and the number of the step alone, so that variants that are trained from
    one seed see the same ones. `test` are the inputs and targets that are held out, on the step's device.
    """

    def __init__(self, step: Step, test: tuple[Any, Any], clock: Clock, seed: int) -> None:
        if step.workload.sample is not None:
            raise InvalidData(
                f"model {step.variant.model!r} draws its own batches, of which nothing is held out; take one that "
                "trains on --data"
            )
        self.step, self.test, self.clock, self.seed = step, test, clock, seed
        self.steps, self.seconds = 0, 0.0

    def turn(self, steps: int) -> Checkpoint:
        """Takes so many steps and looks at the held-out part; drawing batches and looking are not timed."""
        first = self.seed * STRIDE + self.steps
        batches = tuple(self.step.draw(self.step.variant.batch, first + index) for index in range(steps))
        step = replace(self.step, batches=batches)
        torch.manual_seed(first)
        with quiet_collector():
            for index in range(steps):
                _, (start, end) = plain(step, self.clock, index)
                self.seconds += self.clock.span(start, end).wall
        self.steps += steps
        return Checkpoint(steps=self.steps, seconds=self.seconds, accuracy=accuracy(self.step.module, *self.test))


def set_rate(optimizer: torch.optim.Optimizer | None, rate: float) -> None:
    """Sets the learning rate that an optimizer reads at its next step, in all of its groups."""
    for group in optimizer.param_groups if optimizer is not None else ():
        if "lr" not in group:
            raise StepbenchError(
                f"{type(optimizer).__name__} has no 'lr' in its parameter groups, so that its learning rate cannot be "
                "tuned; read group['lr'] in its step"
            )
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def accuracy(module: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> float:
    """Returns the share of inputs whose highest output is that of their target, int64 [count]; in eval mode.

    The module is left in the mode it was in.
    """
    trained = module.training
    module.eval()
    hits = torch.zeros((), dtype=torch.int64, device=targets.device)
    with torch.no_grad():
        for some, expected in zip(inputs.split(LOOKED_AT), targets.split(LOOKED_AT), strict=True):
            hits += (module(some).argmax(1) == expected).sum()
    module.train(trained)
    return float(hits) / len(targets)
