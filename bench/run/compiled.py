"""Compiling a step's module, and whether its quantized layers became kernels of integers."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import torch

# Inductor counts each weight of a quantized layer that it packs for such a kernel.
_PACKED = ("qconv_weight_prepack_matcher_count", "qlinear_weight_prepack_matcher_count")


def compile_(module: torch.nn.Module, inputs: Any, *, trains: bool) -> torch.nn.Module:
    """Returns a module compiled for inputs of this shape; for training it is compiled by its first step.

    Weights that nobody trains are constants, and inductor chooses kernels of integers for constants only. It has to
    know while the module is traced: `freezing` as an option of torch.compile comes too late for packed weights. A
    module, or a part of one, may say in `inductor_options` what more to compile it with.
    """
    made = cast("torch.nn.Module", torch.compile(module))
    if not trains:
        from torch._inductor import config

        with config.patch({"freezing": True, **_options(module)}), torch.no_grad(), warnings.catch_warnings():
            # Inductor copies the zero points of quantized linear layers by it.
            warnings.filterwarnings("ignore", "To copy construct from a tensor", UserWarning)
            made(inputs)
    return made


def _options(module: torch.nn.Module) -> dict[str, object]:
    said = [getattr(child, "inductor_options", None) for child in module.modules()]
    return {name: value for options in said if isinstance(options, Mapping) for name, value in options.items()}


def reset() -> None:
    """Forgets what was counted before, so that the next compilation is counted alone."""
    _counters().clear()


def fused_layers() -> int:
    """Returns how many quantized layers inductor has fused with their rounding since `reset`."""
    return sum(_counters()[name] for name in _PACKED)


def _counters() -> Counter[str]:
    # Importing the compiler takes a second, which steps that are not compiled need not wait for.
    from torch._dynamo.utils import counters

    return counters["inductor"]
