"""Tries a model on each engine of quantized kernels that this torch has."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from lowbit.deploy.check import Ability, Cause
from lowbit.deploy.check_cause import cause_of, packed_layers
from lowbit.deploy.check_export import silence
from lowbit.quantization.coverage import coverage
from lowbit.quantization.engine import OnEngine, using
from lowbit.quantization.flow import QuantizationError, quantized
from lowbit.quantization.flows import ENGINES, flow

_ONE_TENSOR = Cause(
    message="the flows calibrate a model with one tensor, and this one takes something else",
    remedy="wrap it in a module that takes one tensor",
)
_REMEDY = "use a k-bit flow, which runs on kernels of float"


def engines(module: nn.Module, inputs: tuple[Any, ...]) -> list[Ability]:
    """Returns one ability for each engine of this torch.

    A float model is taken through the FX flow of the engine, and through the eager one where FX cannot; a model with
    packed weights is packed again for the engine and run. A model that is quantized otherwise runs on none of them.
    """
    here = [name for name in ENGINES if name in torch.backends.quantized.supported_engines]
    if packed_layers(module):
        return [_packed(module, inputs, engine) for engine in here]
    if coverage(module, module).quantized:
        return [Ability(name="engines", able=True, note="none needed: its kernels are float's, or the compiler's")]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor):
        return [Ability(name="engines", able=False, causes=(_ONE_TENSOR,))]
    return [_float(module, inputs[0], engine) for engine in here]


def _float(module: nn.Module, inputs: torch.Tensor, engine: str) -> Ability:
    causes: list[Cause] = []
    for mode in ("fx", "eager"):
        try:
            with silence(), torch.random.fork_rng(devices=[]):
                made = quantized(flow(f"{mode}-static-{engine}"), copy.deepcopy(module), [inputs], trains=False)
        except Exception as error:  # noqa: BLE001 - a model's own code raises what it likes, also when it is copied
            said = _said(error, engine)
            causes.append(said if said not in causes else causes[0])
            continue
        found = coverage(module, made)
        note = f"{mode}-static-{engine}: {found.quantized} of {found.eligible} layers"
        if found.quantized:
            return Ability(name=f"engine {engine}", able=True, note=note)
        causes.append(Cause(message=f"{note} are quantized: {found.cause}", remedy=_REMEDY))
    return Ability(name=f"engine {engine}", able=False, causes=tuple(dict.fromkeys(causes)))


def _packed(module: nn.Module, inputs: tuple[Any, ...], engine: str) -> Ability:
    name = f"engine {engine}"
    own = module.engine if isinstance(module, OnEngine) else None
    try:
        with silence(), using(engine), torch.no_grad():
            # A copy packs the weights again, for the engine that is global at that moment.
            twin = copy.deepcopy(module.module if isinstance(module, OnEngine) else module)
            OnEngine(twin, engine)(*inputs)
    except Exception as error:  # noqa: BLE001 - kernels raise errors of many kinds
        return Ability(name=name, able=False, causes=(cause_of(error, remedy="quantize for another engine"),))
    return Ability(name=name, able=True, note="packed for it" if engine == own else "runs when packed again")


def _said(error: Exception, engine: str) -> Cause:
    """Returns the cause of an error; of a flow's own word the remedy is the last part.

    What every engine says alike is one cause, without the engine's name.
    """
    if not isinstance(error, QuantizationError):
        return cause_of(error, remedy=_REMEDY)
    message, _, remedy = str(error).replace(f" on {engine}", "").rpartition("; ")
    found = cause_of(error.__cause__ or error, remedy=remedy or _REMEDY)
    known = found.operator or found.message.startswith("control flow")
    return found if known else Cause(message=message or str(error), remedy=remedy or _REMEDY, place=found.place)
