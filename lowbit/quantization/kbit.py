"""Simulated quantization to 2 to 8 bits, after training or while it goes on, and the integers that come of it.

A model that is prepared has a quantizer for the input and one for the weight of each layer. One function gives the
scale, while training and for the integers, so that both agree bit for bit: torch's own flows do not (pytorch#88800).
"""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from lowbit.quantization.flow import Flow, QuantizationError
from lowbit.quantization.kbit_layers import LAYERS, IntegerLayer, QuantizedLayer, Settings, check_padding

__all__ = ["IntegerLayer", "Modules", "QuantizedLayer", "Settings", "convert", "flow", "prepare"]

# Names or globs of modules -> their settings, or None for float; of several that match, the last counts.
Modules = Mapping[str, Settings | None]


def flow(settings: Settings | None = None, modules: Modules | None = None, *, wide_output: str | None = None) -> Flow:
    """Returns the flow of some settings; `modules` and `wide_output` are as in `prepare`."""

    def steps(module: nn.Module, inputs: Sequence[torch.Tensor]) -> nn.Module:  # noqa: ARG001 - nothing is traced
        return prepare(module, settings, modules, wide_output=wide_output)

    return Flow(prepare=steps, convert=convert, trains=True)


def prepare(
    module: nn.Module,
    settings: Settings | None = None,
    modules: Modules | None = None,
    *,
    wide_output: str | None = None,
) -> nn.Module:
    """Replaces the layers of a model by quantized ones, in place, and returns it, in stage CALIBRATION.

    `modules` has settings for layers by name or glob, None for float: they count for the first and the last layer too.
    `wide_output` names a layer that is quantized, wherever it stands, and gives numbers of 32 bits.

    Raises QuantizationError for a model without a layer to quantize, for a name that matches none, and for a
    convolution that pads with anything but zeros.
    """
    names = [name for name, child in module.named_modules() if type(child) in LAYERS]
    if not names:
        raise QuantizationError(
            f"{type(module).__name__} has no layer of type Conv2d or Linear, and so nothing to quantize: choose a "
            "model that has some"
        )
    chosen = _chosen(names, settings or Settings(), modules or {}, wide_output)
    if not chosen:
        why = (
            "the settings of modules leave all in float; leave one of them out"
            if modules
            else "none between the first and the last; set first_and_last to quantize those too"
        )
        raise QuantizationError(f"{type(module).__name__} has {len(names)} layers of type Conv2d or Linear and {why}")
    for name in chosen:
        check_padding(name, module.get_submodule(name))
    for name, own in chosen.items():
        layer = module.get_submodule(name)
        assert isinstance(layer, LAYERS)
        module.set_submodule(name, QuantizedLayer(layer, own))
    return module


def convert(module: nn.Module) -> nn.Module:
    """Replaces quantized layers by layers of integers, in place, and returns the model in eval mode.

    Raises QuantizationError for an input whose range was never observed.
    """
    for name, child in list(module.named_modules()):
        if isinstance(child, QuantizedLayer):
            try:
                child.input_quantizer.parameters_of()
            except QuantizationError as error:
                raise QuantizationError(f"{name}: {error}") from error
            module.set_submodule(name, IntegerLayer(child))
    return module.eval()


def _chosen(names: Sequence[str], base: Settings, modules: Modules, wide_output: str | None) -> dict[str, Settings]:
    found: dict[str, Settings | None] = dict.fromkeys(names if base.first_and_last else names[1:-1], base)
    for pattern, own in modules.items():
        matched = fnmatch.filter(names, pattern)
        if not matched:
            raise _no_layer(pattern, names)
        found |= dict.fromkeys(matched, own)
    if wide_output is not None:
        if wide_output not in names:
            raise _no_layer(wide_output, names)
        found[wide_output] = replace(found.get(wide_output) or base, wide_output=True)
    return {name: own for name in names if (own := found.get(name)) is not None}


def _no_layer(given: str, names: Sequence[str]) -> QuantizationError:
    nearest = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, nearest))}?" if nearest else f"there are {', '.join(names) or 'none'}"
    return QuantizationError(f"{given!r} matches no layer of type Conv2d or Linear; {hint}")
