"""What torch's errors mean for a model, and what to do about them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lowbit.deploy.check import Cause
from lowbit.deploy.check_place import place_of
from lowbit.quantization.engine import OnEngine


@dataclass(frozen=True, kw_only=True)
class _Known:
    """A pattern of torch's messages, with what it means; `{0}` stands for the operator that the pattern holds."""

    pattern: str
    message: str
    remedy: str


_KNOWN = (
    _Known(
        pattern=r"[Dd]ata-dependent (?:branching|expression)|generic_jump|Could not extract specialized integer"
        r"|symbolically traced variables cannot be used as inputs to control flow",
        message="control flow on a tensor: which way Python goes depends on values, and a graph has only one way",
        remedy="write both ways with torch.where, or use torch.cond; or decide outside of forward",
    ),
    _Known(
        pattern=r"Tensor\.(item|tolist)\b|Tensor\.(?:__int__|__float__)",
        message="a value of a tensor is taken into Python, where a graph cannot follow",
        remedy="keep it a tensor: drop .item(), float() and int() from forward",
    ),
    _Known(
        pattern=r"Dynamic shape operator\s+Explanation: Operator `([\w.]+)`",
        message="{0} gives a shape that depends on values",
        remedy="use a mask of constant shape, such as torch.where(condition, values, 0)",
    ),
    _Known(
        pattern=r"\.numpy\(\) is not supported|numpy",
        message="numpy computes in the middle of the model, which no graph holds",
        remedy="use torch's function of the same name",
    ),
    _Known(
        pattern=r"__obj_flatten__|ScriptObject",
        message="weights are packed in an object of torch's int8 kernels, which no graph holds",
        remedy="run the model as it is (O0), or quantize it by pt2e-static, which can be exported and compiled",
    ),
    _Known(
        pattern=r"(?:fake impl|[Ff]ake tensors?|meta kernel).*?([a-z_]\w*::\w+)",
        message="operator {0} does not say what shape it gives",
        remedy="register one: torch.library.register_fake",
    ),
    _Known(
        pattern=r"UnsupportedOperatorException: ([\w.]+)|([a-z_]\w*::\w+).*?(?:fake impl|[Ff]ake tensors?|meta kernel)",
        message="operator {0} does not say what shape it gives",
        remedy="register one: torch.library.register_fake",
    ),
    _Known(
        pattern=r"Could not run '([\w:.]+)' with arguments from the 'Quantized\w*' backend",
        message="operator {0} has no kernel for quantized tensors",
        remedy="leave that part in float between a DeQuantStub and a QuantStub, or use an FX flow or a k-bit one",
    ),
)
_DOTALL = re.DOTALL


def cause_of(error: BaseException, *, remedy: str) -> Cause:
    """Returns what an error means, with the line of the model at which it was raised.

    `remedy` is for errors that are not known here: their first sentence is the message then.
    """
    known = known_cause(f"{type(error).__name__}: {error}", place=place_of(error))
    return known or Cause(message=_first(error), remedy=remedy, place=place_of(error))


def known_cause(text: str, *, place: str) -> Cause | None:
    """Returns what a message of torch means; None for one that is not known here."""
    for known in _KNOWN:
        match = re.search(known.pattern, text, _DOTALL)
        if match is not None:
            operator = next((group for group in match.groups() if group), "") if "{0}" in known.message else ""
            return Cause(message=known.message.format(operator), remedy=known.remedy, place=place, operator=operator)
    return None


def packed_layers(module: nn.Module) -> list[str]:
    """Returns the names of the layers whose weights are packed in objects of torch's int8 kernels."""
    inside = module.module if isinstance(module, OnEngine) else module
    return [
        name.removesuffix("._packed_params")
        for name, child in inside.named_modules()
        if any(isinstance(value, torch.ScriptObject) for value in vars(child).values())
    ]


def packed_cause(module: nn.Module) -> Cause | None:
    """Returns why a model of packed weights is in no graph; None for a model without them."""
    layers = packed_layers(module)
    if not layers:
        return None
    found: Any = known_cause("ScriptObject", place="")
    more = f" and {len(layers) - 1} layers more" if len(layers) > 1 else ""
    return Cause(message=found.message, remedy=found.remedy, place=f"layer {layers[0]}{more}")


def _first(error: BaseException) -> str:
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
    return f"{type(error).__name__}: {said}"
