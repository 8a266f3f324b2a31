"""What is wrong with a quantized model, where it can be told from the model itself, and what to do about it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lowbit.quantization.departure import Difference

# Scales that differ by less are one scale, written by two formulas in fp32.
SAME_SCALE = 1e-5
# More than one unit of an output's grid is no rounding any more; a hundredth is left to sums in fp32.
MOST_LSB = 1.01
# A model that is not even a tenth smaller is not smaller.
SMALLER = 0.9
# A gain that chance gives less often than this is none of rounding's.
UNLIKELY = 0.01


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line that travels with a result: what was found, its cause, and the remedy."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Bytes of a model's parameters and buffers, by what they are.

    What several names share counts once in these; `shared` is what copies of it for the other names would take.
    """

    floats: int
    integers: int
    shared: int = 0

    @property
    def whole(self) -> int:
        """All of them."""
        return self.floats + self.integers


def observers_live(moved: Sequence[str]) -> Finding | None:
    """Finds that evaluating a model changed it; `moved` names the buffers that did."""
    if not moved:
        return None
    message = (
        f"observers are live during evaluation: {_some(moved)} changed while the model was tested, so that accuracy "
        "depends on what was tested before; put the model into stage VALIDATION, which eval() alone does not do"
    )
    return Finding(code="observers-live", message=message)


def nothing_quantized(quantized: int, eligible: int, cause: str) -> Finding | None:
    """Finds that a flow left every layer in float: what it made has no right to its name."""
    if quantized:
        return None
    message = f"0 of {eligible} layers are quantized, this is the float model: {cause or 'the flow does not say why'}"
    return Finding(code="nothing-quantized", message=message)


def float_unfinished(points: float, p_value: float) -> Finding | None:
    """Finds that a model that was trained quantized is better than its float model by more than chance.

    `points` of accuracy it has gained, in percent; `p_value` is that of the test of both on the same examples.
    """
    if points <= 0 or p_value >= UNLIKELY:
        return None
    message = (
        f"the trained model is {points:.1f} points better than the float one (p = {p_value:.1g}): more epochs at a "
        "lower rate do that, not the quantization; train the float model longer, or compare with one of as many epochs"
    )
    return Finding(code="float-unfinished", message=message)


def scale_ratios(prepared: nn.Module) -> dict[str, float]:
    """Returns for each of torch's fake-quantizers the scale it trains with over the one that conversion takes.

    Of scales by channel, the ratio that is farthest from 1. Quantizers that have one function for both have no row.
    """
    found = {}
    for name, child in prepared.named_modules():
        trained, ask = getattr(child, "scale", None), getattr(child, "calculate_qparams", None)
        if not isinstance(trained, torch.Tensor) or not callable(ask) or not hasattr(child, "fake_quant_enabled"):
            continue
        with warnings.catch_warnings():
            # One that never saw anything says so, and has no scale to differ in.
            warnings.simplefilter("ignore")
            converted = ask()[0].to(trained)
        if converted.shape == trained.shape and bool((converted > 0).all() & (trained > 0).all()):
            ratio = trained / converted
            found[name] = float(ratio.flatten()[ratio.log().abs().argmax()])
    return found


def scales_differ(ratios: Mapping[str, float]) -> Finding | None:
    """Finds that a model is converted with other scales than it was trained with."""
    apart = {name: ratio for name, ratio in ratios.items() if abs(ratio - 1) > SAME_SCALE}
    if not apart:
        return None
    worst = max(apart, key=lambda name: abs(apart[name] - 1))
    message = (
        f"{len(apart)} of {len(ratios)} quantizers train with another scale than conversion takes, {worst} with "
        f"{apart[worst]:.4f} times it (pytorch#88800); train with a plain FakeQuantize, or with a k-bit flow"
    )
    return Finding(code="scale-ratio", message=message)


def departs(found: Sequence[Difference]) -> Finding | None:
    """Finds that a converted model gives something else than the one that was trained, and where that begins."""
    apart = [difference for difference in found if difference.lsb > MOST_LSB]
    if not apart:
        return None
    worst = max(apart, key=lambda difference: difference.lsb)
    message = (
        f"the converted model departs from the one that was trained, first at {apart[0].layer} by {apart[0].lsb:.1f} "
        f"LSB of its output, at most at {worst.layer} by {worst.lsb:.1f}, in {len(apart)} of {len(found)} layers; "
        "trust the accuracy of the converted one. Averages are rounded in integers only, and kernels keep what a "
        "reduced range clamps in training"
    )
    return Finding(code="departs", message=message)


def stored(module: nn.Module) -> Stored:
    """Returns the bytes of all that a model's state holds."""
    sizes: dict[int, tuple[bool, int]] = {}
    named = 0
    for number, value in enumerate(_tensors(module.state_dict())):
        integer = value.is_quantized or not (value.is_floating_point() or value.is_complex())
        # A quantized tensor has no address to know it by; no two names share one.
        place = -number if value.is_quantized else value.untyped_storage().data_ptr()
        sizes[place] = integer, value.numel() * value.element_size()
        named += sizes[place][1]
    floats = sum(size for integer, size in sizes.values() if not integer)
    integers = sum(size for integer, size in sizes.values() if integer)
    return Stored(floats=floats, integers=integers, shared=named - floats - integers)


def not_smaller(before: Stored, after: Stored) -> Finding | None:
    """Finds that a quantized model is as good as no smaller than its float model, and why."""
    if after.whole < SMALLER * before.whole:
        return None
    copied = before.shared - after.shared
    if after.integers <= before.integers:
        why = "no weight is stored as integers; choose a flow that converts the layers that this model has"
    elif copied > 0 and after.whole < SMALLER * (before.whole + copied):
        why = (
            f"layers of the float model share weights, which saves it {before.shared:,} bytes, and each quantized "
            "layer has a copy of its own; leave those in float, or untie them before quantizing to compare alike"
        )
    elif after.floats > SMALLER * before.floats and after.integers > before.integers + (before.floats // 5):
        why = "the float weights are kept beside the integers; drop what the graph no longer reads"
    else:
        part = 100 * (after.integers - before.integers) / max(before.whole // 4, 1)
        why = f"only {part:.0f} % of the weights are integers; choose a flow that converts the other layers too"
    message = f"the model is not smaller, {after.whole:,} bytes of {before.whole:,}: {why}"
    return Finding(code="not-smaller", message=message)


def _tensors(value: Any) -> Iterable[torch.Tensor]:
    """Yields the tensors of a state, also of those that layers of torch's own flows keep in tuples."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)


def _some(names: Sequence[str]) -> str:
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]
