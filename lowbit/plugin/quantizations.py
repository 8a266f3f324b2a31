"""The names of quantizations, with what their rows say of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from bench.data.metric import PHASES
from bench.errors import StepbenchError
from bench.plugin import Coverage, Ran, Registry, Use

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

_TRAINS = (
    "training computes in float, and each fake-quantizer adds passes over what its layer reads and gives; integers are "
    "what the deployed model computes with, the row with optimizer none"
)
_SIMULATED = (
    "it computes in float on rounded values, to show what few bits do to accuracy; the flows of torch (fx-static-x86, "
    "pt2e-static compiled) have kernels of integers"
)
_DYNAMIC = "only linear layers are quantized, and round their input anew every time; use a static flow"
_QNNPACK = "qnnpack is made for ARM; use x86 or onednn on this machine"
_UNFUSED = "each rounding is a pass of its own over memory until the compiler fuses it; add @compiled=true"
_LOOSE = "a compiler does not look into torch's kernels of integers, and fuses nothing with them; use pt2e-static"
_ONE = "at batch 1 the calls of small layers and their roundings weigh more than what integers save; use a larger batch"
_WAITS = "the layers are too small to be shared by {threads} threads, which wait for each other; use fewer threads"
_ENGINE = "this engine's kernels gain less on these layers than the roundings between them cost; use another engine"


def register(registry: Registry) -> None:
    """Registers every flow, and a rule for the names that follow the grammar without being listed."""
    from lowbit.quantization.flows import NAMES

    for listed in NAMES:
        _register(registry, listed.name, listed.summary, trains=listed.trains)
    registry.quantizations(lambda name: _by_rule(registry, name))


def why_slower(name: str, ran: Ran) -> str:
    """Returns why a row of a flow may be slower than float, and what to do about it."""
    exported = name.startswith("pt2e-")
    reasons = (
        (ran.trains, _TRAINS),
        (name.startswith(("kbit-", "dorefa-", "f8net")), _SIMULATED),
        ("-dynamic" in name, _DYNAMIC),
        ("-qnnpack" in name, _QNNPACK),
        (exported and not ran.compiled, _UNFUSED),
        (ran.compiled and not exported, _LOOSE),
        (ran.threads > 1, _WAITS.format(threads=ran.threads)),
        (ran.batch == 1, _ONE),
    )
    return next((text for holds, text in reasons if holds), _ENGINE)


def _register(registry: Registry, name: str, summary: str, *, trains: bool) -> None:
    named = registry.quantization(
        name,
        phases=PHASES if trains else ("forward",),
        coverage=_coverage,
        slower=functools.partial(why_slower, name),
        own_kernels=name.startswith(("eager-", "fx-")),
    )
    named(_quantizer(name, summary))


def _by_rule(registry: Registry, name: str) -> bool:
    from lowbit.quantization.flow import QuantizationError
    from lowbit.quantization.flows import flow

    try:
        found = flow(name)
    except QuantizationError:
        return False
    _register(registry, name, "A flow by the rules of its name.", trains=found.trains)
    return True


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
