"""What each layer of a traced model costs: its operations, and the bytes it loads and stores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lowbit.deploy.trace import Operation, Trace, Value

BETWEEN = "(between)"
WHOLE = "(model)"
# One multiply-accumulate is a multiplication and an addition.
PER_MAC = 2
INTEGERS = frozenset({"int8", "uint8", "qint8", "quint8", "int16", "int32", "qint32"})
SMALL_INTEGERS = INTEGERS - {"int16", "int32", "qint32"}


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """The cost of one layer in one forward pass; bytes are by dtype.

    `place` is where it is in the trace; `name` says as well that a row is what a module computes between the modules
    that it calls. A layer loads its weights and what others gave it, and stores what others take: what a fused layer
    hands on inside of itself is nobody's traffic. Operations between layers are no unit, each of them loads and stores.

    `external` are the bytes of the model's own inputs and outputs among them. `arithmetic` is the dtype of the
    operands of its products, None without one. `calls` counts the operators by name, views left out, and `uncounted`
    those of which nobody knows the cost: their operations are missing in `operations`.
    """

    place: str
    name: str
    kind: str
    is_between: bool
    shape: tuple[int, ...]
    operations: int
    weights: Mapping[str, int]
    inputs: Mapping[str, int]
    outputs: Mapping[str, int]
    external: int
    arithmetic: str | None
    calls: Mapping[str, int]
    uncounted: Mapping[str, int]

    @property
    def weight_bytes(self) -> int:
        """The bytes of its weights."""
        return sum(self.weights.values())

    @property
    def loaded(self) -> int:
        """All bytes it loads."""
        return self.weight_bytes + sum(self.inputs.values())

    @property
    def stored(self) -> int:
        """All bytes it stores."""
        return sum(self.outputs.values())

    @property
    def intensity(self) -> float | None:
        """Operations by byte that is moved; None where none is."""
        moved = self.loaded + self.stored
        return self.operations / moved if moved else None

    @property
    def is_integer(self) -> bool:
        """Says whether it has weights that are stored as integers of a byte."""
        return any(dtype in SMALL_INTEGERS for dtype in self.weights)


def costs(trace: Trace) -> tuple[LayerCost, ...]:
    """Returns the cost of each layer, in the order in which they finish; one that runs twice has one row for both."""
    groups: dict[str, list[Operation]] = {}
    for operation in trace.operations:
        groups.setdefault(operation.layer, []).append(operation)
    order = sorted(groups, key=lambda place: _last(groups[place]).index)
    around = {place for place in groups if any(_inside(other, place) for other in groups)}
    functions = {place for place, own in groups.items() if own[0].is_function}
    made = [_cost(trace, place, groups[place], is_around=place in around - functions) for place in order]
    # A row that neither counts nor moves anything, a dropout or a view, says nothing.
    return tuple(cost for cost in made if cost.calls)


def weight_bytes(trace: Trace) -> int:
    """Returns the bytes of all weights that a forward pass reads, each once; as scales count those of channels."""
    sizes: dict[int, int] = {}
    for value in trace.values:
        if value.kind == "weight":
            sizes[value.storage] = max(value.bytes, sizes.get(value.storage, 0))
    return sum(sizes.values())


def _inside(other: str, place: str) -> bool:
    return other != place and (place == "" or other.startswith(f"{place}."))


def _cost(trace: Trace, place: str, own: Sequence[Operation], *, is_around: bool) -> LayerCost:
    real = [operation for operation in own if not operation.is_view]
    between = is_around or own[0].is_function
    loads, stores = _each(trace, real) if between else _boundary(trace, own)
    products = [operation for operation in own if operation.category == "product"]
    external = [value for value in (*loads, *stores) if value.kind == "input" or value.id in trace.output]
    last = _last(own).outputs
    return LayerCost(
        place=place,
        name=f"{place} {BETWEEN}".strip() if is_around else place or WHOLE,
        kind=own[0].kind_of_module,
        is_between=between,
        shape=trace.values[last[0]].shape if last else (),
        operations=PER_MAC * sum(operation.macs or 0 for operation in own),
        weights=_by_dtype(value for value in loads if value.kind == "weight"),
        inputs=_by_dtype(value for value in loads if value.kind != "weight"),
        outputs=_by_dtype(stores),
        external=sum(value.bytes for value in external),
        arithmetic=trace.values[products[0].inputs[0]].dtype if products else None,
        calls=Counter(operation.name for operation in real),
        uncounted=Counter(operation.name for operation in own if operation.macs is None),
    )


def _last(own: Sequence[Operation]) -> Operation:
    """Returns the last of some operations that computes something, or the last view."""
    return next((operation for operation in reversed(own) if not operation.is_view), own[-1])


def _boundary(trace: Trace, own: Sequence[Operation]) -> tuple[list[Value], list[Value]]:
    """Returns the values that come from outside of a layer, and those of its own that are used outside."""
    indices = {operation.index for operation in own}
    made = {number for operation in own for number in operation.outputs}
    taken = {number for operation in own for number in operation.inputs} - made
    used = {
        number for operation in trace.operations if operation.index not in indices for number in operation.inputs
    } | set(trace.output)
    return [trace.values[number] for number in sorted(taken)], [trace.values[number] for number in sorted(made & used)]


def _each(trace: Trace, own: Sequence[Operation]) -> tuple[list[Value], list[Value]]:
    """Returns what each operation by itself takes and makes."""
    loads = [trace.values[number] for operation in own for number in dict.fromkeys(operation.inputs)]
    return loads, [trace.values[number] for operation in own for number in operation.outputs]


def _by_dtype(values: Iterable[Value]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for value in values:
        found[value.dtype] += value.bytes
    return dict(found)
