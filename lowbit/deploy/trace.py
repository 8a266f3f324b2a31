"""One forward pass as data: every operation that reaches torch's dispatcher, and the values that flow between them.

`FlopCounterMode` counts nothing of a model of integers, and its `parameters()` are empty: the dispatcher sees
operations on packed weights as it sees all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from lowbit.deploy.counting import Category, category, macs
from lowbit.deploy.edges import Place, Watch

Kind = Literal["input", "weight", "activation"]


@dataclass(frozen=True)
class Value:
    """A tensor at one moment: written in place, it is another value.

    `bytes` is what its elements take where they lie, an expanded tensor no more than what is expanded; of a quantized
    tensor with the scales and zero points of its channels. Values of one `storage` share memory. A weight is whatever
    was there before the forward pass and was not handed in.
    """

    id: int
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    kind: Kind
    storage: int


@dataclass(frozen=True)
class Operation:
    """One call that reached the dispatcher.

    `layer` is the dotted path of the innermost module, or the name of a node in the forward of a graph, which then
    `is_function`. Outputs of an in-place operation are new values; `aliases` are the new values of other tensors that
    share the memory it wrote. `macs` are multiply-accumulates, None where nobody knows a formula.
    """

    index: int
    name: str
    layer: str
    kind_of_module: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    is_view: bool
    is_function: bool
    aliases: tuple[int, ...]
    macs: int | None
    category: Category | None


@dataclass(frozen=True)
class Trace:
    """A forward pass: `values[i].id == i`, operations in their order, and the values that the model returned."""

    values: tuple[Value, ...]
    operations: tuple[Operation, ...]
    output: tuple[int, ...]


def trace(module: nn.Module, inputs: Any) -> Trace:
    """Runs one forward pass without gradients and returns what it did.

    `inputs` is a tensor, or a sequence of the module's arguments. A model on the meta device is traced without being
    computed.
    """
    arguments = (inputs,) if isinstance(inputs, torch.Tensor) else tuple(inputs)
    recorder = _Recorder(tensor for tensor in tree_leaves(arguments) if isinstance(tensor, torch.Tensor))
    with torch.no_grad(), Watch(module, recorder), recorder:
        result = module(*arguments)
    output = tuple(recorder.value(tensor) for tensor in tree_leaves(result) if isinstance(tensor, torch.Tensor))
    return Trace(tuple(recorder.values), tuple(recorder.operations), output)


class _Recorder(TorchDispatchMode):
    def __init__(self, inputs: Iterator[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.values: list[Value] = []
        self.operations: list[Operation] = []
        self._ids: Any = WeakTensorKeyDictionary()
        self._packed: dict[tuple[str, str, int], tuple[int, ...]] = {}
        self._stack = [Place("", "")]
        self._storages = 0
        for tensor in inputs:
            self._add(tensor, "input")

    def enter(self, place: Place) -> None:
        self._stack.append(place)

    def leave(self) -> None:
        self._stack.pop()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, (torch.Tensor, torch.ScriptObject))]
        place, name = self._stack[-1], func._schema.name  # noqa: SLF001 - the one way to an operation's name
        inputs = [number for index, leaf in enumerate(given) for number in self._inputs(leaf, place, name, index)]
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        written = [leaf for leaf in made if leaf in self._ids]
        outputs = tuple(self._output(tensor, given) for tensor in made)
        self.operations.append(
            Operation(
                index=len(self.operations),
                name=name,
                layer=place.path,
                kind_of_module=place.kind,
                inputs=tuple(inputs),
                outputs=outputs,
                is_view=func.is_view,
                is_function=place.is_function,
                aliases=tuple(number for tensor in written for number in self._renewed(tensor, made)),
                macs=macs(func, args, kwargs, made),
                category=category(func),
            )
        )
        return result

    def value(self, tensor: torch.Tensor) -> int:
        """Returns the number of a tensor's present value; one that nobody made is a weight."""
        number = self._ids.get(tensor)
        return self._add(tensor, "weight") if number is None else int(number)

    def _inputs(self, leaf: Any, place: Place, name: str, index: int) -> tuple[int, ...]:
        if isinstance(leaf, torch.Tensor):
            return (self.value(leaf),)
        # The wrapper around a packed weight is another object at each call, and its tensors are made anew.
        key = (place.path, name, index)
        if key not in self._packed:
            self._packed[key] = tuple(self._add(tensor, "weight") for tensor in _unpacked(leaf))
        return self._packed[key]

    def _output(self, tensor: torch.Tensor, given: Sequence[Any]) -> int:
        for source in given:
            if isinstance(source, torch.Tensor) and _share(tensor, source):
                value = self.values[self._ids[source]]
                return self._add(tensor, value.kind, value.storage)
        return self._add(tensor, "activation")

    def _renewed(self, written: torch.Tensor, made: Sequence[torch.Tensor]) -> Iterator[int]:
        """Gives new values to the other tensors that share memory with one that was written."""
        for tensor, number in list(self._ids.items()):
            if _share(tensor, written) and all(tensor is not other for other in made):
                value = self.values[number]
                yield self._add(tensor, value.kind, value.storage)

    def _add(self, tensor: torch.Tensor, kind: Kind, storage: int | None = None) -> int:
        number = len(self.values)
        if storage is None:
            storage, self._storages = self._storages, self._storages + 1
        self.values.append(
            Value(number, tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), _bytes(tensor), kind, storage)
        )
        self._ids[tensor] = number
        return number


def _unpacked(packed: Any) -> list[torch.Tensor]:
    parts = packed.unpack() if hasattr(packed, "unpack") else ()
    return [leaf for leaf in tree_leaves(parts) if isinstance(leaf, torch.Tensor)]


def _share(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    one, two = _storage(tensor), _storage(other)
    return one is not None and two is not None and bool(one._cdata == two._cdata)  # noqa: SLF001 - meta tensors have no address


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage | None:
    """Returns what holds a tensor's elements; None for one that is sparse or in a format of its own."""
    try:
        return tensor.untyped_storage()
    except NotImplementedError:
        return None


def _bytes(tensor: torch.Tensor) -> int:
    if tensor.layout == torch.sparse_coo:
        parts = (tensor._indices(), tensor._values())  # noqa: SLF001 - the public ones want it coalesced
        return sum(part.numel() * part.element_size() for part in parts)
    size, storage = tensor.numel() * tensor.element_size(), _storage(tensor)
    if storage is not None:
        size = min(size, storage.nbytes())
    if tensor.is_quantized and tensor.qscheme() in {torch.per_channel_affine, torch.per_channel_affine_float_qparams}:
        parts = (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points())
        size += sum(part.numel() * part.element_size() for part in parts)
    return size
