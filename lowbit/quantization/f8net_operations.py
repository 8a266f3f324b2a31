"""Which operations F8Net has a fixed-point form of, however a model writes them."""

from __future__ import annotations

import enum
import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from lowbit.quantization.f8net_stream import Average
from lowbit.quantization.flow import QuantizationError

RELU6_CEILING = 6.0
# Of each way to say it: where it stops.
RELUS: dict[Any, float | None] = {
    nn.ReLU: None,
    functional.relu: None,
    torch.relu: None,
    "relu": None,
    nn.ReLU6: RELU6_CEILING,
    functional.relu6: RELU6_CEILING,
}
SUMS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_FLATTENS = {nn.Flatten, torch.flatten, "flatten"}
_MAX_POOLS = {nn.MaxPool2d, functional.max_pool2d}
WHOLE_AVERAGES = {nn.AdaptiveAvgPool2d, functional.adaptive_avg_pool2d}
AVERAGES = {nn.AvgPool2d, functional.avg_pool2d}
_DROPOUTS = {nn.Dropout, nn.Identity}


class Kind(enum.Enum):
    """What a node of a model does."""

    INPUT = enum.auto()
    LAYER = enum.auto()
    RELU = enum.auto()
    SUM = enum.auto()
    MAX = enum.auto()
    AVERAGE = enum.auto()
    PAD = enum.auto()
    FLATTEN = enum.auto()
    DROPOUT = enum.auto()


def shape_kind(node: fx.Node, what: Any) -> Kind | None:
    """Returns the kind of an operation that leaves numbers as they are, or None; `what` is its function or class."""
    if what in _MAX_POOLS:
        return Kind.MAX
    if what in _DROPOUTS:
        return Kind.DROPOUT
    if what in _FLATTENS and len(shape_of(node)) == 2:
        return Kind.FLATTEN
    if what is functional.pad and len(shape_of(node)) == 4:
        pads: Any = node.args[1] if len(node.args) > 1 else node.kwargs["pad"]
        zeros = not node.kwargs.get("value") and node.kwargs.get("mode", "constant") == "constant"
        return Kind.PAD if zeros and len(pads) <= 6 else None
    return None


def average_of(node: fx.Node, what: Any, module: nn.Module | None, source: fx.Node) -> Average:
    """Returns the sum and shift that take an average's place; raises QuantizationError where none can."""
    height, width = shape_of(source)[-2:]
    if what in WHOLE_AVERAGES:
        if tuple(shape_of(node)[-2:]) != (1, 1):
            raise QuantizationError(f"{node.name} pools to more than one place: F8Net takes AdaptiveAvgPool2d(1)")
        return Average((height, width), (height, width), whole=True)
    names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
    if isinstance(module, nn.AvgPool2d):
        given = {name: getattr(module, name) for name in names}
    else:
        given = dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)
    if any(given.get(name) for name in ("ceil_mode", "divisor_override")) or given.get("padding") not in {
        0,
        (0, 0),
        None,
    }:
        raise QuantizationError(f"{node.name} pads, rounds up or has a divisor: F8Net averages whole windows")
    kernel = _pair(given["kernel_size"])
    return Average(kernel, _pair(given.get("stride") or kernel), whole=False)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Returns the shape that a value had when the model was traced."""
    return tuple(node.meta["tensor_meta"].shape)
