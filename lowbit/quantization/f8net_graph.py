"""A float model as F8Net sees it: its layers, what passes between them, and in which unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from lowbit.quantization.f8net_operations import (
    AVERAGES,
    RELUS,
    SUMS,
    WHOLE_AVERAGES,
    Kind,
    average_of,
    shape_kind,
    shape_of,
)
from lowbit.quantization.flow import QuantizationError
from lowbit.quantization.kbit_layers import check_padding

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


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
    if what in SUMS and len(inputs) == 2 and not node.kwargs:
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
    if what in RELUS:
        return replace(value, kind=Kind.RELU, unsigned=True, ceiling=RELUS[what])
    if what in AVERAGES or what in WHOLE_AVERAGES:
        average = average_of(node, what, module, source.node)
        return replace(value, kind=Kind.AVERAGE, module=average, factor=source.factor / average.factor)
    kind = shape_kind(node, what)
    return None if kind is None else replace(value, kind=kind)


def _foldable(layer: Value, norm: nn.Module | None) -> bool:
    assert isinstance(norm, NORMS)
    return layer.norm is None and len(layer.node.users) == 1 and norm.running_mean is not None


def _check_layer(node: fx.Node, source: fx.Node, module: nn.Module | None, found: Plan) -> None:
    if len(shape_of(source)) != (4 if isinstance(module, nn.Conv2d) else 2):
        raise QuantizationError(f"{node.name} is given {len(shape_of(source))} dimensions: F8Net takes NCHW or NC")
    assert module is not None
    check_padding(str(node.target), module)
    if any(value.module is module for value in found.values):
        raise QuantizationError(f"{node.name} runs twice: F8Net needs a layer for each run, each with its own scaling")


def _sum(node: fx.Node, inputs: tuple[Value, ...], found: Plan) -> Value:
    one, other = inputs
    if one.factor != other.factor or shape_of(one.node) != shape_of(other.node):
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
