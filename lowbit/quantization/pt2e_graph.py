"""What is changed in graphs of torch.export, so that torchao quantizes them as the models that they were made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx
from torch.nn import functional

# Where in its arguments a node has the mode that it was exported in.
_aten = torch.ops.aten
_MODE = {_aten.batch_norm.default: 5, _aten.dropout.default: 2, _aten.dropout_.default: 2}
_RELUS = frozenset({_aten.relu.default, _aten.relu_.default})


def constant(graph_module: fx.GraphModule, node: fx.Node) -> torch.Tensor:
    """Returns the tensor that a node `get_attr` reads."""
    path, _, name = str(node.target).rpartition(".")
    found = getattr(graph_module.get_submodule(path), name)
    assert isinstance(found, torch.Tensor)
    return found


def turn(graph_module: fx.GraphModule, *, trains: bool) -> None:
    """Turns the batch normalization and dropout of an exported graph to training or to evaluation, in place."""
    nodes = [node for node in graph_module.graph.nodes if node.target in _MODE]
    turned = [node for node in nodes if node.args[_MODE[node.target]] is not trains]
    for node in turned:
        node.update_arg(_MODE[node.target], trains)
    if turned:
        graph_module.recompile()


def name_functions(graph_module: fx.GraphModule) -> None:
    """Says of a ReLU that is no module where it comes from: by that the quantizer finds what follows a convolution.

    Without it a sum that a ReLU follows is one of floats, to be rounded in a pass of its own.
    """
    for node in graph_module.graph.nodes:
        if node.target in _RELUS and not node.meta.get("source_fn_stack"):
            node.meta["source_fn_stack"] = [(node.name, functional.relu)]


def norms(graph_module: fx.GraphModule) -> list[tuple[Any, ...]]:
    """Returns momentum and epsilon of each batch normalization, sorted: torchao's fusion for QAT knows its own only."""
    nodes = graph_module.graph.nodes
    return sorted(tuple(node.args[6:8]) for node in nodes if node.target is _aten.batch_norm.default)


def forget_unread(graph_module: fx.GraphModule) -> None:
    """Drops the tensors that the graph does not read: torchao keeps each float weight beside its integers."""
    read = {node.target for node in graph_module.graph.nodes if node.op == "get_attr"}
    kept = [graph_module.named_parameters(remove_duplicate=False), graph_module.named_buffers(remove_duplicate=False)]
    for name in {name for named in kept for name, _ in named} - read:
        path, _, last = name.rpartition(".")
        delattr(graph_module.get_submodule(path), last)
