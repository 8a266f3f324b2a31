"""What a run is given, and what it ends with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from lowbit.data.images import CLASSES, ImageSet
from lowbit.data.split import Split
from lowbit.pipeline import checkpoint
from lowbit.pipeline.plan import Plan
from lowbit.pipeline.trail import Trail
from lowbit.pipeline.training import Loss
from lowbit.quantization import diagnosis
from lowbit.quantization.coverage import Coverage, coverage
from lowbit.quantization.flow import Flow, QuantizationError, calibrate, deployed
from lowbit.quantization.input_stub import InputStub
from lowbit.quantization.stage import Stage


class NothingQuantized(QuantizationError):
    """A flow that left every layer of a model in float: what it made has no right to its name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """What a run needs beside its plan: `make(seed)` builds the float model, `loss(outputs, targets)` is its loss.

    `start` is a float state to start from, in place of the one that the seed draws.
    """

    plan: Plan
    make: Callable[[int], nn.Module]
    loss: Loss
    data: Split
    flow: Flow
    start: Mapping[str, Any] | None = None

    def identity(self) -> dict[str, Any]:
        """Returns what two runs must have in common for the one to go on where the other ended."""
        started = "drawn by the seed" if self.start is None else checkpoint.digest(self.start)
        return self.plan.to_plain() | data_identity(self.data) | {"start": started}


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a run ended with: its trail, the float model's state, and the model that is deployed, in eval mode.

    The deployed model takes pictures as they are; where the plan has an input scale, a stub of it stands before.
    """

    trail: Trail
    float_state: Mapping[str, Any]
    module: nn.Module


def data_identity(data: Split) -> dict[str, str]:
    """Returns what tells image sets apart: the words, and a fingerprint of every picture and label."""
    return {"data": data.description, "pictures": data.fingerprint()}


def behind_stub(data: Split, scale: float) -> Split:
    """Returns image sets as a model sees them behind an input stub."""
    stub = InputStub(scale)

    def seen(part: ImageSet) -> ImageSet:
        return replace(part, images=stub(part.images))

    return replace(data, train=seen(data.train), test=seen(data.test))


def check(model: str, module: nn.Module, pictures: torch.Tensor) -> None:
    """Raises QuantizationError for a model that does not take pictures or give a number for each of ten classes."""
    module.eval()
    takes = f"model {model} must take pictures {list(pictures.shape)} and give logits [{len(pictures)}, {CLASSES}]"
    try:
        with torch.no_grad():
            found = module(pictures)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        # Its own forward raises what it likes; the first line of torch's says which shapes do not fit.
        why = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise QuantizationError(f"{takes}: {why}") from error
    if not isinstance(found, torch.Tensor):
        raise QuantizationError(f"{takes}: it gives a {type(found).__name__}")
    if found.dim() != 2 or found.shape[0] != len(pictures) or found.shape[1] < CLASSES:
        raise QuantizationError(f"{takes}, or of more classes: it gives {list(found.shape)}")


def rehearse(job: Job, inputs: Sequence[torch.Tensor]) -> None:
    """Takes an untrained model through a flow, before anything is trained for it or written over.

    Raises QuantizationError for what the flow cannot work with, and NothingQuantized where it would do nothing.
    """
    prepared = job.flow.prepare(job.make(job.plan.seed), inputs)
    calibrate(job.flow, prepared, inputs)
    job.flow.enter(prepared, Stage.VALIDATION)
    # What trains rounds before it is converted as well, and converting it may take half a minute.
    covered(job, prepared if job.flow.trains else deployed(job.flow, prepared))


def covered(job: Job, module: nn.Module) -> Coverage:
    """Returns how much of a job's model is quantized in what became of it; raises NothingQuantized for nothing."""
    found = coverage(job.make(job.plan.seed), module)
    nothing = diagnosis.nothing_quantized(found.quantized, found.eligible, found.cause)
    if nothing is not None:
        raise NothingQuantized(f"{job.plan.model}, {job.plan.flow}: {nothing.message}")
    return found
