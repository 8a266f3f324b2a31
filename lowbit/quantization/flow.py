"""A flow: the way from a float model to a quantized one, whoever's quantizers it uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lowbit.quantization.stage import Stage, enter


class QuantizationError(ValueError):
    """What a model, a setting or calibration data has that a flow cannot work with; one line, with the remedy."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The steps of one flow; each may work in place, and returns what is to be used from then on.

    `prepare(module, inputs)` puts quantizers or observers into a float model and returns it in stage CALIBRATION;
    `inputs` are batches like those that it will see, for flows that trace the model. `enter(module, stage)` moves a
    prepared model to another stage. `convert(module)` makes a calibrated or trained model into the one that is
    deployed, in eval mode; without it that is the prepared model itself, in stage VALIDATION. `trains` says whether
    the prepared model can be trained (stage QAT).

    Every step raises QuantizationError for what a user can mend.
    """

    prepare: Callable[[nn.Module, Sequence[torch.Tensor]], nn.Module]
    enter: Callable[[nn.Module, Stage], None] = enter
    convert: Callable[[nn.Module], nn.Module] | None = None
    trains: bool = False


def calibrate(flow: Flow, module: nn.Module, inputs: Sequence[torch.Tensor]) -> None:
    """Shows a prepared model batches of inputs, from which it learns its ranges.

    Raises QuantizationError for no batch at all, and for a batch that is empty or not finite.
    """
    if not inputs:
        raise QuantizationError("calibration has no batch: give one at least")
    flow.enter(module, Stage.CALIBRATION)
    with torch.no_grad():
        for number, batch in enumerate(inputs):
            if batch.numel() == 0:
                raise QuantizationError(f"calibration batch {number} is empty: give each one sample at least")
            if not bool(torch.isfinite(batch).all()):
                raise QuantizationError(f"calibration batch {number} holds NaN or an infinity: clean the data")
            module(batch)


def deployed(flow: Flow, module: nn.Module) -> nn.Module:
    """Returns the model that is deployed of one that was calibrated or trained.

    Raises QuantizationError for one that was neither, unless its flow has nothing to calibrate.
    """
    # Where torch's observers saw nothing, it warns at most, and converts with a scale of 1. ReLU6 has a number there.
    modules: list[Any] = list(module.modules())
    observers = [each for each in modules if isinstance(getattr(each, "min_val", None), torch.Tensor)]
    if observers and not any(bool((each.min_val <= each.max_val).any()) for each in observers):
        raise QuantizationError("nothing was calibrated; show the prepared model batches of inputs first")
    flow.enter(module, Stage.VALIDATION)
    return flow.convert(module) if flow.convert is not None else module


def quantized(flow: Flow, module: nn.Module, inputs: Sequence[torch.Tensor], *, trains: bool) -> nn.Module:
    """Takes a float model to the one that is trained (stage QAT), or to the one that is deployed."""
    prepared = flow.prepare(module, inputs)
    calibrate(flow, prepared, inputs)
    if not trains:
        return deployed(flow, prepared)
    flow.enter(prepared, Stage.QAT)
    return prepared
