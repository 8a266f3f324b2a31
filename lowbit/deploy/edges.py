"""The edges of a model's layers: who wants to know hears when each one begins and ends.

A layer is a module that calls no other, a module that is one quantized layer whatever stands in it, or a node of an
`fx.GraphModule`'s own forward.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import fx, nn

from lowbit.deploy.nodes import layers_of

# The attribute in which a module that only stands around another keeps it, such as `DistributedDataParallel`.
_WRAPPED = ("module", "graph_module")
# Nodes that compute nothing.
_SILENT = frozenset({"placeholder", "get_attr", "output"})


@dataclass(frozen=True)
class Place:
    """Where a model is: the dotted path of a module or the name of a node, and its class or what the node calls.

    `is_function` says that it is a node of a graph that belongs to no module.
    """

    path: str
    kind: str
    is_function: bool = False


class Watcher(Protocol):
    """What is told of edges."""

    def enter(self, place: Place) -> None:
        """Hears that a module or a node begins; the ones around it have not ended."""

    def leave(self) -> None:
        """Hears that the last one that began has ended."""


def places(module: nn.Module) -> dict[nn.Module, Place]:
    """Returns the modules that are watched: all but those inside of what is one layer.

    The path of a module inside of one that only wraps it is that which it has without the wrapper.
    """
    found: dict[nn.Module, Place] = {}
    _collect(module, "", found)
    return found


class Watch:
    """Tells a watcher of all edges that a model passes inside of a `with`; after it the model is as it was.

    It may be entered again and again. Nodes of a graph are seen by running a copy of its code with calls between, which
    costs a graph less than an interpreter would.
    """

    def __init__(self, module: nn.Module, watcher: Watcher) -> None:
        found = places(module)
        self._hooks = [(child, _entering(watcher, place), _leaving(watcher)) for child, place in found.items()]
        self._graphs = [
            (child, _instrumented(child, found, watcher))
            for child, place in found.items()
            if isinstance(child, fx.GraphModule)
        ]
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> None:
        """Puts the hooks and the copies of graphs in place."""
        for child, before, after in self._hooks:
            self._stack.callback(child.register_forward_pre_hook(before).remove)
            self._stack.callback(child.register_forward_hook(after).remove)
        for graph, forward in self._graphs:
            # On the instance, where a call looks before the class.
            vars(graph)["forward"] = forward
            self._stack.callback(vars(graph).pop, "forward")

    def __exit__(self, *_: object) -> None:
        """Takes them away."""
        self._stack.close()


def is_one_layer(module: nn.Module) -> bool:
    """Says whether a module is a layer by itself, whatever it calls: one that is quantized, or fused by torch.ao."""
    return (
        hasattr(module, "quantizes_weight")
        or hasattr(module, "weight_fake_quant")
        or type(module).__module__.startswith("torch.ao.nn.")
    )


def _collect(module: nn.Module, path: str, found: dict[nn.Module, Place]) -> None:
    if module in found:
        return
    found[module] = Place(path, type(module).__name__)
    if is_one_layer(module):
        return
    children = dict(module.named_children())
    for name, child in children.items():
        wraps = not path and len(children) == 1 and name in _WRAPPED
        _collect(child, "" if wraps else _joined(path, name), found)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _entering(watcher: Watcher, place: Place) -> Callable[..., None]:
    def enter(_module: nn.Module, _inputs: Any) -> None:
        watcher.enter(place)

    return enter


def _leaving(watcher: Watcher) -> Callable[..., None]:
    def leave(_module: nn.Module, _inputs: Any, _output: Any) -> None:
        watcher.leave()

    return leave


def _instrumented(module: fx.GraphModule, found: Mapping[nn.Module, Place], watcher: Watcher) -> Callable[..., Any]:
    """Returns a graph's forward with calls around each node; the graph itself, which others may hold, stays.

    Modules that it calls have hooks of their own; with calls around them, freeing what they were given is theirs too.
    """
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    result = graph.graph_copy(module.graph, copies)
    graph.output(result)
    # How inputs and outputs are taken apart and put together, in exported graphs.
    graph.set_codegen(module.graph._codegen)  # noqa: SLF001 - there is no other way to it
    owners = layers_of(module.graph)
    path = found[module].path
    for original, node in copies.items():
        if node.op in _SILENT:
            continue
        layer = owners.get(original)
        if node.op == "call_module":
            place = found.get(module.get_submodule(str(node.target)), found[module])
        elif layer is None:
            place = Place(_joined(path, node.name), _target(node), is_function=True)
        else:
            place = Place(_joined(path, layer.path), layer.kind)
        with graph.inserting_before(node):
            graph.call_function(_entering_node(watcher, place), ())
        with graph.inserting_after(node):
            graph.call_function(_leaving_node(watcher), ())
    forward: Callable[..., Any] = fx.GraphModule(module, graph, type(module).__name__).forward
    return forward


def _entering_node(watcher: Watcher, place: Place) -> Callable[[], None]:
    def enter_node() -> None:
        watcher.enter(place)

    return enter_node


def _leaving_node(watcher: Watcher) -> Callable[[], None]:
    def leave_node() -> None:
        watcher.leave()

    return leave_node


def _target(node: fx.Node) -> str:
    if isinstance(node.target, str):
        return node.target
    return str(getattr(node.target, "__name__", node.target)).removesuffix(".default")
