"""Hardware that is not at hand: what a layer would take there, by a file that says what it can do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from lowbit.deploy.layers import LayerCost
from lowbit.deploy.roofline import INT8, Bound, longest

_EXAMPLE = '{"name": "a chip", "peak": {"int8": 5e12}, "bandwidth": 8e9, "on_chip_bytes": 2000000}'
_Positive = Annotated[float, msgspec.Meta(gt=0)]


class InvalidTarget(ValueError):
    """A target file that is none, or that does not say what a model needs; one line, with what to do."""


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device: peak rates in operations a second by dtype, bandwidth in bytes a second, bytes of memory on the chip.

    A multiply-accumulate is two operations. A device with a peak for `int8` computes layers with weights of integers
    at that rate, whatever the machine at hand computes them in.
    """

    name: str
    peak: dict[str, _Positive]
    bandwidth: _Positive
    on_chip_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0


def parse(content: bytes) -> Target:
    """Reads a target file, JSON; raises InvalidTarget with the field that is wrong."""
    try:
        target = msgspec.json.decode(content, type=Target)
    except msgspec.MsgspecError as error:
        raise InvalidTarget(f"{error}; write {_EXAMPLE}, in operations and bytes a second") from error
    if not target.peak:
        raise InvalidTarget('`peak` is empty; give operations a second by dtype: {"int8": 5e12}')
    return target


def check(target: Target, costs: Sequence[LayerCost]) -> None:
    """Raises InvalidTarget for a layer that the target has no peak rate for."""
    for cost in costs:
        if cost.operations and _rate(cost, target) is None:
            raise InvalidTarget(
                f"no peak for {_dtype(cost)}, which layer {cost.name!r} needs; there is "
                f"{', '.join(sorted(target.peak))}: add it to `peak`, or quantize the layer"
            )


def predict(cost: LayerCost, target: Target) -> Bound | None:
    """Returns the time of a layer on a target that reaches its peak or its bandwidth; None for one that does nothing.

    What a layer is given and what it gives stays on the chip where both fit there together; its weights, and inputs
    and outputs of the model, are moved always.
    """
    handed = sum(cost.inputs.values()) + cost.stored
    moved = cost.external if handed <= target.on_chip_bytes else handed
    rate = _rate(cost, target)
    compute = cost.operations / rate if rate else 0.0
    return longest(compute, (cost.weight_bytes + moved) / target.bandwidth)


def _rate(cost: LayerCost, target: Target) -> float | None:
    return target.peak.get(_dtype(cost))


def _dtype(cost: LayerCost) -> str:
    return INT8 if cost.is_integer else str(cost.arithmetic)
