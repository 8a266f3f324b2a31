"""From F8Net's simulated layers to integers: every fraction length is known then, and becomes a constant shift."""

from __future__ import annotations

import operator
from typing import Any

from torch import fx, nn
from torch.nn import functional

from lowbit.quantization.f8net import FixedLayer
from lowbit.quantization.f8net_integer import (
    IntegerAverage,
    IntegerClamp,
    IntegerEntry,
    IntegerExit,
    IntegerLayer,
    IntegerSum,
    Wire,
)
from lowbit.quantization.f8net_operations import RELU6_CEILING
from lowbit.quantization.f8net_stream import Average, Entry, Flatten
from lowbit.quantization.flow import QuantizationError
from lowbit.quantization.stage import Stage, enter

EXIT = "fixed_point_exit"


def convert(module: nn.Module) -> nn.Module:
    """Returns a model of integers that gives, bit for bit, what a prepared one gives in VALIDATION; in eval mode.

    It keeps nothing of the other's float weights. Raises QuantizationError for a model that was not prepared, and for
    one that was neither calibrated nor trained.
    """
    if not isinstance(module, fx.GraphModule):
        raise QuantizationError(f"{type(module).__name__} is no F8Net model: prepare it first")
    for name, child in module.named_modules():
        if isinstance(child, FixedLayer) and not bool(child.stream.seen[child.source.reader]):
            raise QuantizationError(f"{name}: nothing was calibrated; show the prepared model batches of inputs first")
    enter(module, Stage.VALIDATION)
    return _Converter(module).converted()


class _Converter:
    def __init__(self, source: fx.GraphModule) -> None:
        self.source = source
        self.modules: dict[str, nn.Module] = {}
        self.graph = fx.Graph()
        self.nodes: dict[fx.Node, fx.Node] = {}
        self.wires: dict[fx.Node, Wire] = {}

    def converted(self) -> nn.Module:
        for node in self.source.graph.nodes:
            if node.op == "placeholder":
                self.nodes[node] = self.graph.placeholder(node.name)
            elif node.op == "output":
                self.graph.output(self.nodes[node.args[0]])
            elif node.op == "call_module":
                self._module(node, self.source.get_submodule(str(node.target)))
            else:
                self._function(node)
        return fx.GraphModule(self.modules, self.graph, f"Integer{type(self.source).__name__}").eval()

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        given = node.args[0]
        assert isinstance(given, fx.Node)
        if isinstance(module, Entry):
            entry = IntegerEntry(module)
            self._call(node, entry, entry.wire)
            return
        wire = self.wires[given]
        if isinstance(module, FixedLayer):
            layer = IntegerLayer(module, wire)
            self._call(node, layer, layer.wire)
            if module.target is None:
                self.modules[EXIT] = IntegerExit(module, layer.wire)
                self.nodes[node] = self.graph.call_module(EXIT, (self.nodes[node],))
        elif isinstance(module, Average):
            average = IntegerAverage(module, wire)
            self._call(node, average, average.wire)
        elif isinstance(module, Flatten):
            positions = module.positions
            spread = Wire(length=wire.length.repeat_interleave(positions), most=wire.most.repeat_interleave(positions))
            self._call(node, module, spread)
        elif isinstance(module, nn.Dropout):
            self.nodes[node], self.wires[node] = self.nodes[given], wire
        else:
            self._call(node, module, wire)

    def _function(self, node: fx.Node) -> None:
        given = node.args[0]
        assert isinstance(given, fx.Node)
        wire = self.wires[given]
        if node.target is operator.add:
            other = node.args[1]
            assert isinstance(other, fx.Node)
            total = IntegerSum(wire, self.wires[other])
            self._call(node, total, total.wire)
        elif node.target is functional.relu6:
            clamp = IntegerClamp(round(RELU6_CEILING), wire)
            self._call(node, clamp, wire)
        else:
            self.nodes[node] = self.graph.node_copy(node, lambda each: self.nodes[each])
            self.wires[node] = _padded(wire, node) if node.target is functional.pad else wire

    def _call(self, node: fx.Node, module: nn.Module, wire: Wire) -> None:
        name = str(node.target) if node.op == "call_module" else f"integer_{node.name}"
        self.modules[name] = module
        self.nodes[node] = self.graph.call_module(name, tuple(self.nodes[each] for each in node.all_input_nodes))
        self.wires[node] = wire


def _padded(wire: Wire, node: fx.Node) -> Wire:
    """Returns the wire of NCHW with padded channels, whose zeros have any fraction length."""
    pads: Any = node.args[1] if len(node.args) > 1 else node.kwargs["pad"]
    if len(pads) <= 4:
        return wire
    return Wire(length=functional.pad(wire.length, pads[4:6]), most=functional.pad(wire.most, pads[4:6]))
