"""A float model as F8Net sees it: its layers, what passes between them, and in which unit."""

from __future__ import annotations

import enum
import operator
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from lowbit.quantization.f8net_stream import Average
from lowbit.quantization.flow import QuantizationError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
RELU6_CEILING = 6.0
# Of each way to say it: where it stops.
_RELUS: dict[Any, float | None] = {
    nn.ReLU: None,
    functional.relu: None,
    torch.relu: None,
    "relu": None,
    nn.ReLU6: RELU6_CEILING,
    functional.relu6: RELU6_CEILING,
}
_SUMS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_FLATTENS = {nn.Flatten, torch.flatten, "flatten"}
_MAX_POOLS = {nn.MaxPool2d, functional.max_pool2d}
_WHOLE_AVERAGES = {nn.AdaptiveAvgPool2d, functional.adaptive_avg_pool2d}
_AVERAGES = {nn.AvgPool2d, functional.avg_pool2d}
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


@dataclass(kw_only=True, eq=False)
class Value:
    """What a node gives, and how it comes about.

    `name` is that of the module, of a layer also where `norm` is the batch norm behind it, whose node this one is then;
    `unsigned` says that no number is negative; `factor` is what the averages on the way left over; `stream` numbers
    the values that share a unit.
    """

    kind: Kind
    name: str
    node: fx.Node
    inputs: tuple[Value, ...]
    stream: int
    module: nn.Module | None = None
    norm: nn.Module | None = None
    unsigned: bool = False
    ceiling: float | None = None
    factor: float = 1.0


@dataclass(kw_only=True)
class Plan:
    """The values of a model in the order in which they come about, and the one that it gives."""

    values: list[Value] = field(default_factory=list)
    output: Value | None = None
    _joined: list[int] = field(default_factory=list)

    def new_stream(self) -> int:
        """Returns the number of a new stream."""
        self._joined.append(len(self._joined))
        return len(self._joined) - 1

    def join(self, one: int, other: int) -> None:
        """Makes two streams one: they are added up."""
        self._joined[self.stream(one)] = self.stream(other)

    def stream(self, number: int) -> int:
        """Returns the number that stands for a stream and all that were joined with it."""
        while self._joined[number] != number:
            number = self._joined[number]
        return number

    def readers(self, stream: int) -> Iterator[Value]:
        """Yields the layers that read a stream."""
        for value in self.values:
            if value.kind is Kind.LAYER and self.stream(value.inputs[0].stream) == stream:
                yield value


def trace(module: nn.Module, batch: torch.Tensor) -> fx.GraphModule:
    """Returns the graph of a model in eval mode, with the shape of every value for a batch.

    Raises QuantizationError for a model that cannot be traced.
    """
    try:
        traced = fx.symbolic_trace(module.eval())
    except Exception as error:
        cause = str(error).split("\n", maxsplit=1)[0]
        raise QuantizationError(
            f"{type(module).__name__} cannot be traced ({cause}); F8Net needs a forward without branches on data: "
            "use a k-bit flow"
        ) from error
    with torch.no_grad():
        ShapeProp(traced).propagate(batch)
    return traced


def plan(traced: fx.GraphModule) -> Plan:
    """Returns what the nodes of a model do.

    Raises QuantizationError for an operation that there is no fixed-point form of, for an output that is not that of
    one layer, and for more than one input.
    """
    traced.graph.eliminate_dead_code()
    found, by_node = Plan(), dict[fx.Node, Value]()
    for node in traced.graph.nodes:
        inputs = tuple(by_node[each] for each in node.all_input_nodes if each in by_node)
        if node.op == "output":
            found.output = inputs[0] if len(inputs) == 1 else None
            continue
        by_node[node] = value = _value(node, traced, inputs, found)
        if value not in found.values:
            found.values.append(value)
    last = found.output
    if last is None or last.kind is not Kind.LAYER or list(found.readers(found.stream(last.stream))):
        raise QuantizationError("the model's output must be that of its last convolution or linear layer")
    if sum(value.kind is Kind.INPUT for value in found.values) != 1:
        raise QuantizationError("the model must have one input: F8Net takes no other")
    return found


def _value(node: fx.Node, traced: fx.GraphModule, inputs: tuple[Value, ...], found: Plan) -> Value:
    module = traced.get_submodule(str(node.target)) if node.op == "call_module" else None
    what: Any = node.target if module is None else type(module)
    if node.op == "placeholder":
        return Value(kind=Kind.INPUT, name=node.name, node=node, inputs=(), stream=found.new_stream())
    if what in NORMS and inputs and inputs[0].kind is Kind.LAYER and _foldable(inputs[0], module):
        # The layer's value is what comes out of its batch norm.
        inputs[0].norm, inputs[0].node = module, node
        return inputs[0]
    if (what is nn.Conv2d or what is nn.Linear) and len(inputs) == 1:
        _check_layer(node, inputs[0].node, module, found)
        stream = found.new_stream()
        return Value(kind=Kind.LAYER, name=str(node.target), node=node, inputs=inputs, stream=stream, module=module)
    if what in _SUMS and len(inputs) == 2 and not node.kwargs:
        return _sum(node, inputs, found)
    passed = _passed(node, what, module, inputs[0]) if len(inputs) == 1 else None
    if passed is None:
        name = getattr(what, "__name__", str(what))
        raise QuantizationError(
            f"F8Net has no fixed-point form of {name} ({node.name}): it takes Conv2d and Linear, with a batch norm "
            "behind them or none, ReLU, ReLU6, sums, pooling, zero padding, flatten and dropout; use a k-bit flow"
        )
    return passed


def _passed(node: fx.Node, what: Any, module: nn.Module | None, source: Value) -> Value | None:
    """Returns what becomes of one value on its way between layers, or None if there is no fixed-point form of it."""
    value = Value(
        kind=Kind.DROPOUT,
        name=node.name if module is None else str(node.target),
        node=node,
        inputs=(source,),
        stream=source.stream,
        module=module,
        unsigned=source.unsigned,
        factor=source.factor,
    )
    if what in _RELUS:
        return replace(value, kind=Kind.RELU, unsigned=True, ceiling=_RELUS[what])
    if what in _AVERAGES or what in _WHOLE_AVERAGES:
        average = _average(node, what, module, source.node)
        return replace(value, kind=Kind.AVERAGE, module=average, factor=source.factor / average.factor)
    kind = _shape_kind(node, what)
    return None if kind is None else replace(value, kind=kind)


def _foldable(layer: Value, norm: nn.Module | None) -> bool:
    assert isinstance(norm, NORMS)
    return layer.norm is None and len(layer.node.users) == 1 and norm.running_mean is not None


def _check_layer(node: fx.Node, source: fx.Node, module: nn.Module | None, found: Plan) -> None:
    if len(_shape(source)) != (4 if isinstance(module, nn.Conv2d) else 2):
        raise QuantizationError(f"{node.name} is given {len(_shape(source))} dimensions: F8Net takes NCHW or NC")
    if any(value.module is module for value in found.values):
        raise QuantizationError(f"{node.name} runs twice: F8Net needs a layer for each run, each with its own scaling")


def _sum(node: fx.Node, inputs: tuple[Value, ...], found: Plan) -> Value:
    one, other = inputs
    if one.factor != other.factor or _shape(one.node) != _shape(other.node):
        raise QuantizationError(f"{node.name} adds values of unlike scale or shape: F8Net shifts, and cannot scale")
    found.join(one.stream, other.stream)
    return Value(
        kind=Kind.SUM,
        name=node.name,
        node=node,
        inputs=inputs,
        stream=one.stream,
        unsigned=one.unsigned and other.unsigned,
        factor=one.factor,
    )


def _shape_kind(node: fx.Node, what: Any) -> Kind | None:
    if what in _MAX_POOLS:
        return Kind.MAX
    if what in _DROPOUTS:
        return Kind.DROPOUT
    if what in _FLATTENS and len(_shape(node)) == 2:
        return Kind.FLATTEN
    if what is functional.pad and len(_shape(node)) == 4:
        pads: Any = node.args[1] if len(node.args) > 1 else node.kwargs["pad"]
        zeros = not node.kwargs.get("value") and node.kwargs.get("mode", "constant") == "constant"
        return Kind.PAD if zeros and len(pads) <= 6 else None
    return None


def _average(node: fx.Node, what: Any, module: nn.Module | None, source: fx.Node) -> Average:
    height, width = _shape(source)[-2:]
    if what in _WHOLE_AVERAGES:
        if tuple(_shape(node)[-2:]) != (1, 1):
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


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["tensor_meta"].shape)
