"""F8Net on a whole model: from a float model to one of fixed-point layers, and to its integers (arXiv 2202.05239).

The model is traced; convolutions and linear layers become `FixedLayer`s with their batch norms folded in, averages
become sums and shifts. A layer behind a ReLU reads through it: rounding to unsigned numbers cuts off what is
negative. ReLU6 is a clip that starts at 6. The first layer's input and the last layer's weight are of 8 bits as well,
as published. The numbers of 32 bits that layers give are added up before they are rounded, so shortcuts lose nothing.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Sequence
from functools import partial
from typing import get_args

import torch
from torch import fx, nn
from torch.nn import functional

from lowbit.quantization.f8net import FixedLayer, Fraction, Source
from lowbit.quantization.f8net_convert import convert
from lowbit.quantization.f8net_graph import NORMS, Plan, Value, plan, trace
from lowbit.quantization.f8net_operations import RELU6_CEILING, Kind, shape_of
from lowbit.quantization.f8net_stream import START_ALPHA, Entry, Flatten, Stream
from lowbit.quantization.flow import Flow, QuantizationError
from lowbit.quantization.kbit_layers import LAYERS
from lowbit.quantization.stage import Stage, enter

ENTRY = "fixed_point_entry"


def flow(*, fraction: Fraction = "formula", clips: bool = True) -> Flow:
    """Returns the flow with fraction lengths by formula, or by search over all of them, which takes 20 times as long.

    Without `clips` no scaling is learned, as in the published "tiny finetuning": for models that are calibrated and not
    trained. Raises QuantizationError for another way to find fraction lengths.
    """
    if fraction not in get_args(Fraction):
        nearest = difflib.get_close_matches(str(fraction), get_args(Fraction), n=1)
        hint = f", did you mean {nearest[0]!r}?" if nearest else ""
        raise QuantizationError(f"fraction={fraction!r}: must be one of {', '.join(get_args(Fraction))}{hint}")
    return Flow(prepare=partial(prepare, fraction=fraction, clips=clips), convert=convert, trains=True)


def prepare(
    module: nn.Module, inputs: Sequence[torch.Tensor], *, fraction: Fraction = "formula", clips: bool = True
) -> nn.Module:
    """Returns a model of fixed-point layers that has taken those of the given one over, in stage CALIBRATION.

    Shapes are those of the first of `inputs`. Raises QuantizationError for no batch, for a model that cannot be traced,
    and for an operation without a fixed-point form.
    """
    if not inputs:
        raise QuantizationError("there is no batch to trace the model with: give one at least")
    traced = trace(module, inputs[0])
    built = _Builder(traced, plan(traced), fraction, clips=clips).built(type(module).__name__)
    enter(built, Stage.CALIBRATION)
    return built


class _Builder:
    """Makes a graph of fixed-point layers from the plan of one of float layers."""

    def __init__(self, traced: fx.GraphModule, found: Plan, fraction: Fraction, *, clips: bool) -> None:
        self.traced, self.plan, self.fraction = traced, found, fraction
        self.modules: dict[str, nn.Module] = {}
        self.graph = fx.Graph()
        self.streams: dict[int, Stream] = {}
        self.readers: dict[Value, int] = {}
        for number in {found.stream(value.stream) for value in found.values}:
            readers = list(found.readers(number))
            if readers:
                self.streams[number] = self._stream(number, readers, clips=clips)
                self.readers |= {reader: index for index, reader in enumerate(readers)}

    def _stream(self, number: int, readers: list[Value], *, clips: bool) -> Stream:
        stops = any(value.ceiling for value in self.plan.values if self.plan.stream(value.stream) == number)
        return Stream(
            len(readers),
            signed=not all(reader.inputs[0].unsigned for reader in readers),
            clips=clips,
            alpha=RELU6_CEILING if stops else START_ALPHA,
        )

    def built(self, name: str) -> fx.GraphModule:
        """Returns the model."""
        nodes: dict[Value, fx.Node] = {}
        for value in self.plan.values:
            nodes[value] = self._node(value, [nodes[each] for each in value.inputs], nodes)
        assert self.plan.output is not None
        self.graph.output(nodes[self.plan.output])
        model = fx.GraphModule(self.modules, self.graph, name)
        # ReLUs that every layer behind them reads through.
        model.graph.eliminate_dead_code()
        model.recompile()
        return model.to(next(self.traced.parameters()).device)

    def _node(self, value: Value, inputs: list[fx.Node], nodes: dict[Value, fx.Node]) -> fx.Node:
        name, stream = value.name, self.streams.get(self.plan.stream(value.stream))
        if value.kind is Kind.INPUT:
            assert stream is not None
            entry = Entry(stream, shape_of(value.node)[1])
            return self._call(ENTRY, entry, self.graph.placeholder(name))
        if value.kind is Kind.LAYER:
            source = self._source(value)
            given = nodes[value.inputs[0].inputs[0]] if source.rectified else inputs[0]
            return self._call(name, self._layer(value, source, stream), given)
        if value.kind is Kind.FLATTEN:
            return self._call(name, Flatten(shape_of(value.inputs[0].node)), inputs[0])
        if value.kind is Kind.RELU or value.kind is Kind.SUM:
            stops = value.ceiling is not None and stream is not None and stream.alpha is None
            function = operator.add if value.kind is Kind.SUM else functional.relu6 if stops else functional.relu
            return self.graph.call_function(function, tuple(inputs))
        if value.module is not None:
            return self._call(name, value.module, inputs[0])
        return self.graph.node_copy(value.node, lambda _: inputs[0])

    def _source(self, value: Value) -> Source:
        given = value.inputs[0]
        stream = self.streams[self.plan.stream(given.stream)]
        rectified = given.kind is Kind.RELU and not stream.signed
        return Source(
            reader=self.readers[value],
            rectified=rectified,
            ceiling=given.ceiling if rectified else None,
            factor=given.factor,
        )

    def _layer(self, value: Value, source: Source, target: Stream | None) -> FixedLayer:
        assert isinstance(value.module, LAYERS)
        assert value.norm is None or isinstance(value.norm, NORMS)
        stream = self.streams[self.plan.stream(value.inputs[0].stream)]
        return FixedLayer(value.module, value.norm, stream, target, source=source, fraction=self.fraction)

    def _call(self, name: str, module: nn.Module, source: fx.Node) -> fx.Node:
        self.modules[name] = module
        return self.graph.call_module(name, (source,))
