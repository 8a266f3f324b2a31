"""Which nodes of a graph belong to one layer: exported graphs have no modules any more, only a memory of them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

_CALLS = frozenset({"call_function", "call_method"})


@dataclass(frozen=True)
class Layer:
    """The path of the module that a node was exported from, and its class."""

    path: str
    kind: str


def layers_of(graph: fx.Graph) -> dict[fx.Node, Layer]:
    """Returns the layer of each node that belongs to one; the others stand between layers.

    What torch.export writes down is the module whose code a node was; it is a layer if no other module was called in
    it. In a graph of PT2E the roundings belong to the layer whose values they round: from integers before a layer, to
    integers behind it, and what is fused with a layer by being computed before that.
    """
    owners = _exported_from(graph)
    if any(_rounds(node) for node in graph.nodes):
        _join_quantized(graph, owners)
    return owners


def _exported_from(graph: fx.Graph) -> dict[fx.Node, Layer]:
    found = {}
    for node in graph.nodes:
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        if stack and node.op in _CALLS:
            path, kind = stack[-1]
            found[node] = Layer(path.removeprefix("L['self'].").removeprefix("L['self']"), _class_name(kind))
    paths = {layer.path for layer in found.values()}
    around = {path for path in paths if path == "" or any(other.startswith(f"{path}.") for other in paths)}
    return {node: layer for node, layer in found.items() if layer.path not in around}


def _join_quantized(graph: fx.Graph, owners: dict[fx.Node, Layer]) -> None:
    for node in graph.nodes:
        if node in owners or node.op not in _CALLS or _restores(node):
            continue
        for given in node.all_input_nodes:
            alone = len(given.users) == 1 and not _rounds(given)
            if given in owners and (_rounds(node) or alone) and not _restores(given):
                owners[node] = owners[given]
                break
    for node in reversed(graph.nodes):
        if _restores(node) and node not in owners:
            owner = next((owners[user] for user in node.users if user in owners), None)
            if owner is not None:
                owners[node] = owner


def _rounds(node: fx.Node) -> bool:
    return node.op == "call_function" and _name(node).startswith(("quantize_per_", "choose_qparams"))


def _restores(node: fx.Node) -> bool:
    return node.op == "call_function" and _name(node).startswith("dequantize_per_")


def _name(node: fx.Node) -> str:
    return str(getattr(node.target, "__name__", ""))


def _class_name(kind: object) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).rpartition(".")[2]
