"""The names of quantizations, with what their rows say of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.data.metric import PHASES
from bench.errors import StepbenchError
from bench.plugin import Coverage, Registry, Use

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

_SIMULATED = (
    "it computes in float on rounded values, to show what few bits do to accuracy; the flows of torch (fx-static-x86, "
    "pt2e-static compiled) have kernels of integers"
)
_EVERY_LAYER = (
    "rounding after every layer weighs as much as small layers win by integers, most of all at batch 1; measure with a "
    "larger batch, and the other engines"
)
# What the name of a flow starts with -> why it may be slower than float, and what to do; the first that fits counts.
SLOWER = {
    **dict.fromkeys(("eager-dynamic", "fx-dynamic"), "only linear layers are quantized, and round their input anew "
                    "every time; use a static flow"),
    **dict.fromkeys((f"{mode}-{kind}-qnnpack" for mode in ("eager", "fx") for kind in ("static", "qat")),
                    "qnnpack is made for ARM; use x86 or onednn on this machine"),
    **dict.fromkeys(("eager-", "fx-"), _EVERY_LAYER),
    "pt2e-": "each rounding is a pass of its own over memory until the compiler fuses it; add @compiled=true",
    **dict.fromkeys(("kbit-", "dorefa-", "f8net"), _SIMULATED),
}  # fmt: skip


def register(registry: Registry) -> None:
    """Registers every flow."""
    from lowbit.quantization.flows import NAMES

    for listed in NAMES:
        phases = PHASES if listed.trains else ("forward",)
        slower = next((text for start, text in SLOWER.items() if listed.name.startswith(start)), "")
        named = registry.quantization(listed.name, phases=phases, coverage=_coverage, slower=slower)
        named(_quantizer(listed.name, listed.summary))


def _quantizer(name: str, summary: str) -> Callable[[torch.nn.Module, Use], torch.nn.Module]:
    def quantizer(module: torch.nn.Module, use: Use) -> torch.nn.Module:
        from lowbit.quantization.flow import QuantizationError, quantized
        from lowbit.quantization.flows import flow

        try:
            return quantized(flow(name), module, use.inputs, trains=use.trains)
        except QuantizationError as error:
            raise StepbenchError(str(error)) from error

    quantizer.__doc__ = summary
    return quantizer


def _coverage(before: torch.nn.Module, after: torch.nn.Module) -> Coverage:
    from lowbit.quantization.coverage import coverage

    found = coverage(before, after)
    return Coverage(quantized=found.quantized, eligible=found.eligible, cause=found.cause)
