"""By how much a converted model departs from the one that was trained, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

# Steps of a grid of bytes, for outputs that have none of their own.
STEPS = 255
OUTPUT = "output"


@dataclass(frozen=True, kw_only=True, eq=False)
class Output:
    """What a layer gave, and whether it holds the ReLU that follows: conversion may put it there."""

    values: torch.Tensor
    rectified: bool


@dataclass(frozen=True, kw_only=True)
class Difference:
    """By how much a layer's output differs between two models, at most, in units of the output's grid."""

    layer: str
    lsb: float


def layers_of(module: nn.Module) -> list[str]:
    """Returns the names of a float model's convolutions and linear layers, by which `outputs` looks for them."""
    return [name for name, child in module.named_modules() if isinstance(child, (nn.Conv2d, nn.Linear))]


def outputs(module: nn.Module, inputs: torch.Tensor, layers: Iterable[str]) -> dict[str, Output]:
    """Runs a model and returns what its layers gave, in the order in which they ran, and last what it gave itself.

    A model may stand inside of another that runs it on an engine. Layers that it does not have, for a graph replaced
    them, are left out.
    """
    found: dict[str, Output] = {}
    modules = dict(module.named_modules())
    inside = {name: [own for own in modules if own == name or own.endswith(f".{name}")] for name in layers}

    def keep(name: str) -> Any:
        def hook(layer: nn.Module, _: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                # What a layer gives as bare integers, it says itself what they stand for.
                meant: Any = getattr(layer, "reals", None)
                values = output.detach() if meant is None else meant(output.detach())
                found[name] = Output(values=values, rectified="ReLU" in type(layer).__name__)

        return hook

    handles = [
        modules[name if name in own else own[0]].register_forward_hook(keep(name))
        for name, own in inside.items()
        if name in own or len(own) == 1
    ]
    try:
        with torch.no_grad():
            found[OUTPUT] = Output(values=module(inputs), rectified=False)
    finally:
        for handle in handles:
            handle.remove()
    return found


def differences(trained: Mapping[str, Output], converted: Mapping[str, Output]) -> list[Difference]:
    """Returns the differences of what two models gave, layer by layer as they ran.

    An output that is quantized has a scale, which is the unit; of others it is the output's range in 255 steps. What
    the whole model gave counts only where the two have no layer in common.
    """
    found = []
    common = any(name in converted for name in trained if name != OUTPUT)
    for name, before in trained.items():
        after = converted.get(name)
        if after is None or after.values.shape != before.values.shape or (name == OUTPUT and common):
            continue
        expected, other = before.values, after.values
        if after.rectified and not before.rectified:
            expected = expected.relu()
        if other.is_quantized:
            unit = torch.tensor(other.q_scale(), dtype=torch.float64)
            low, high = ((end - other.q_zero_point()) * unit for end in _ends(other))
            # In a traced model the quantizer that clamps a layer's output stands behind the layer.
            expected = expected.clamp(float(low), float(high))
            other = other.dequantize()
        else:
            unit = (expected.max() - expected.min()).double() / STEPS
        most = (expected.double() - other.double()).abs().max()
        found.append(Difference(layer=name, lsb=float(most / unit) if bool(most) else 0.0))
    return found


def _ends(quantized: torch.Tensor) -> tuple[int, int]:
    """Returns the lowest and the highest integer that the dtype of a quantized tensor holds."""
    info = torch.iinfo(quantized.int_repr().dtype)
    return info.min, info.max
