"""The quantization of a step's module, and whether it did what its name says."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch

from bench.data.variant import NONE, Variant
from bench.errors import InvalidVariant, NotQuantized, PluginFailed
from bench.plugin import Coverage, Registry, Use


def quantize(
    registry: Registry, variant: Variant, module: torch.nn.Module, inputs: Sequence[Any]
) -> tuple[torch.nn.Module, Coverage | None]:
    """Returns the module as the variant's quantization makes it, and the layers that it covers, where it counts them.

    A variant without quantization gives the module itself. Raises InvalidVariant for a quantization that cannot be
    trained under an optimizer, NotQuantized for one that left every layer as it was, PluginFailed for a factory that
    returns no module.
    """
    if variant.quantization == NONE:
        return module, None
    part = registry.get("quantization", variant.quantization)
    trains = variant.optimizer != NONE
    if trains and "backward" not in part.options["phases"]:
        raise InvalidVariant(
            f"{variant}: quantization {variant.quantization!r} has no backward phase; its optimizer is {NONE!r}"
        )
    covers = part.options["coverage"]
    before = copy.deepcopy(module) if covers else module
    given = (Use(tuple(inputs), trains),) if len(inspect.signature(part.factory).parameters) > 1 else ()
    after = part.factory(module, *given)
    if not isinstance(after, torch.nn.Module):
        raise PluginFailed(
            f"quantization {variant.quantization!r} ({part.origin}) returned {type(after).__name__}; return a "
            "torch.nn.Module"
        )
    found: Coverage | None = covers(before, after) if covers else None
    if found is not None and not found.quantized:
        cause = found.cause or "the model has no layer that it takes"
        raise NotQuantized(f"0 of {found.eligible} layers quantized: {cause}")
    return after, found
