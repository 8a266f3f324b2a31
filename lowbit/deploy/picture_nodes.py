"""What a picture of a model shows: a node for each layer, with what it computes, loads and stores, and the edges."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lowbit.deploy.layers import PER_MAC, SMALL_INTEGERS
from lowbit.deploy.picture_flow import Flow
from lowbit.deploy.trace import Operation, Trace, Value

Role = Literal["input", "layer", "between", "output"]
# What stays a node of its own behind a layer: there a region of integers begins or ends.
_BORDERS = ("quantize_per_", "dequantize")
_FOLDED = frozenset({"norm", "elementwise"})


@dataclass(frozen=True, kw_only=True)
class Node:
    """One box: a layer with the normalization and activation that only it feeds, or what is computed between layers.

    `places` are those of the trace, `kinds` the classes of modules and the names of operations between them.
    `precision` says in which dtype it computes, and that of its weights where they are integers and it does not.
    `weights` are bytes by dtype; `loaded` and `stored` are bytes of what other nodes make and take.
    """

    role: Role
    label: str
    places: tuple[str, ...]
    kinds: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    precision: str
    is_quantized: bool
    operations: int
    calls: tuple[tuple[str, int], ...]
    weights: tuple[tuple[str, int], ...]
    loaded: int
    stored: int


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The nodes of a model in the order in which they run, and edges from one to another by number."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[int, int], ...]


@dataclass(eq=False)
class _Group:
    """Operations that become one node."""

    operations: list[Operation]

    @property
    def places(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(operation.layer for operation in self.operations))


def graph(trace: Trace) -> Graph:
    """Returns the graph of a traced model.

    Views, and what is computed from weights alone, are no nodes: edges pass through them. Operations of one layer that
    follow each other are one node; between layers a chain is. Behind a layer with products, a normalization and an
    activation that nobody else is fed by belong to it.
    """
    flow = Flow(trace)
    groups = _folded(flow, _joined(flow, _runs(flow)))
    owner = {number: index for index, group in enumerate(groups) for op in group.operations for number in flow.made(op)}
    sources: list[Value] = [value for value in trace.values if value.kind == "input" and not flow.is_made(value.id)]
    nodes = [_pill("input", value) for value in sources]
    first = len(nodes)
    origin = {value.id: index for index, value in enumerate(sources)}
    origin |= {number: first + index for number, index in owner.items()}
    edges: dict[tuple[int, int], None] = {}
    for index, group in enumerate(groups):
        nodes.append(_node(flow, group))
        for number in flow.taken(group.operations):
            if number in origin and origin[number] != first + index:
                edges[origin[number], first + index] = None
    for number in dict.fromkeys(source for result in trace.output for source in flow.sources(result)):
        if number in origin:
            edges[origin[number], len(nodes)] = None
    if trace.output:
        nodes.append(_pill("output", trace.values[trace.output[0]]))
    return Graph(nodes=tuple(nodes), edges=tuple(edges))


def _runs(flow: Flow) -> list[_Group]:
    """Groups operations that follow each other: all of a layer, and chains of those between layers."""
    groups: list[_Group] = []
    for operation in flow.visible:
        last = groups[-1] if groups else None
        joins = last is not None and last.operations[-1].layer == operation.layer
        if joins and last is not None and operation.layer in flow.around:
            joins = flow.fed(last.operations[-1:]) == {operation.index}
        if joins and last is not None:
            last.operations.append(operation)
        else:
            groups.append(_Group([operation]))
    return groups


def _joined(flow: Flow, groups: list[_Group]) -> list[_Group]:
    """Moves what restores a layer's inputs to the layer: an exported graph does that long before."""
    whose = {operation.index: group for group in groups for operation in group.operations}
    kept = []
    for group in groups:
        fed = {whose.get(user) for user in flow.fed(group.operations)}
        into = fed.pop() if len(fed) == 1 else None
        restores = all(_short(operation.name).startswith("dequantize") for operation in group.operations)
        if into is None or not restores or into.operations[0].layer != group.operations[0].layer:
            kept.append(group)
            continue
        into.operations[:0] = group.operations
        whose |= {operation.index: into for operation in group.operations}
    return kept


def _folded(flow: Flow, groups: list[_Group]) -> list[_Group]:
    owner = {number: group for group in groups for op in group.operations for number in flow.made(op)}
    kept: list[_Group] = []
    for group in groups:
        before = {owner.get(number) for number in flow.taken(group.operations)}
        into = before.pop() if len(before) == 1 else None
        own = {operation.index for operation in group.operations}
        if into is None or not _folds(group, into) or not flow.fed(into.operations) <= own:
            kept.append(group)
            continue
        into.operations += group.operations
        owner |= {number: into for operation in group.operations for number in flow.made(operation)}
    return kept


def _folds(group: _Group, into: _Group) -> bool:
    simple = all(
        operation.category in _FOLDED and not _short(operation.name).startswith(_BORDERS)
        for operation in group.operations
    )
    return simple and any(operation.category == "product" for operation in into.operations)


def _node(flow: Flow, group: _Group) -> Node:
    own, values = group.operations, flow.trace.values
    weights: Counter[str] = Counter()
    for value in flow.weights(own):
        weights[value.dtype] += value.bytes
    product = next((operation for operation in own if operation.category == "product"), own[0])
    arithmetic = values[next(iter(product.inputs))].dtype if product.inputs else values[own[-1].outputs[0]].dtype
    most = weights.most_common(1)[0][0] if weights else arithmetic
    mixed = most in SMALL_INTEGERS and arithmetic not in SMALL_INTEGERS
    taken, outputs = flow.taken(own), _handed_on(flow, own)
    last = flow.seen_as(outputs[-1].id if outputs else own[-1].outputs[0])
    layer = any(operation.category == "product" or flow.is_module(operation) for operation in own)
    kinds = [kind for place in group.places for kind in _kinds(flow, place, own)]
    return Node(
        role="layer" if layer else "between",
        label=group.places[0] if layer and group.places[0] else " · ".join(kinds),
        places=group.places,
        kinds=tuple(kinds),
        shape=last.shape,
        dtype=last.dtype,
        precision=f"{most} weights, {arithmetic}" if mixed else arithmetic,
        is_quantized=mixed or arithmetic in SMALL_INTEGERS or last.dtype in SMALL_INTEGERS,
        operations=PER_MAC * sum(operation.macs or 0 for operation in own),
        calls=tuple(Counter(_short(operation.name) for operation in own).items()),
        weights=tuple(sorted(weights.items())),
        loaded=sum(values[number].bytes for number in taken),
        stored=sum(value.bytes for value in outputs),
    )


def _handed_on(flow: Flow, own: Sequence[Operation]) -> list[Value]:
    indices = {operation.index for operation in own}
    made = [number for operation in own for number in operation.outputs]
    return [flow.trace.values[number] for number in made if flow.users.get(number, set()) - indices]


def _kinds(flow: Flow, place: str, own: Sequence[Operation]) -> list[str]:
    """Returns the class of the module at a place, or the names of what is computed there between modules."""
    there = [operation for operation in own if operation.layer == place]
    if flow.is_module(there[0]):
        return [there[0].kind_of_module]
    return list(dict.fromkeys(_short(operation.name) for operation in there))


def _pill(role: Role, value: Value) -> Node:
    return Node(
        role=role, label=role, places=(), kinds=(), shape=value.shape, dtype=value.dtype, precision=value.dtype,
        is_quantized=False, operations=0, calls=(), weights=(), loaded=0, stored=0,
    )  # fmt: skip


def _short(name: str) -> str:
    return name.partition("::")[2].strip("_")
