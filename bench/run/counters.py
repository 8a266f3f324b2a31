"""What can be counted exactly: operations, synchronisations and FLOPs by phase, bytes saved for backward."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bench.data.measurement import Caveat
from bench.data.metric import COMMUNICATE
from bench.run.build import Step

_aten = torch.ops.aten
# Operations whose result the host must read before it can go on: on an accelerator each one stops the queue. Where
# the shape of the output depends on values, the host has to know them to allocate it.
SYNCS = frozenset(
    {
        _aten._local_scalar_dense,  # noqa: SLF001 - the operation's own name
        _aten.equal,
        _aten.is_nonzero,
        _aten.masked_select,
        _aten.nonzero,
        _aten.unique_consecutive,
        _aten.unique_dim,
        _aten._unique2,  # noqa: SLF001 - the operation's own name
    }
)


class Operations(TorchDispatchMode):
    """Counts what reaches the dispatcher in this thread: operations other than views, and synchronisations.

    Messages to other ranks are counted apart, with the bytes of the tensors that this rank gives.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0
        self.syncs = 0
        self.messages = 0
        self.bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Counts one operation and runs it."""
        kwargs = kwargs or {}
        if func.namespace == "c10d":
            self.messages += 1
            self.bytes += _given_bytes(func, args)
            return func(*args, **kwargs)
        if not func.is_view:
            self.operations += 1
        if func.overloadpacket in SYNCS or _copies_to_host(func, args, kwargs):
            self.syncs += 1
        return func(*args, **kwargs)


def _given_bytes(func: Any, args: tuple[Any, ...]) -> int:
    """Returns the bytes that a collective takes from this rank: of its inputs where it has others, else of all."""
    names = [argument.name for argument in func._schema.arguments]  # noqa: SLF001 - there is no public way
    given = next((value for name, value in zip(names, args, strict=False) if name.startswith("input")), args[:1])
    return sum(leaf.nbytes for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor))


def _copies_to_host(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    if func.overloadpacket is _aten._to_copy:  # noqa: SLF001 - the operation's own name
        target, source = kwargs.get("device"), args[0].device
        asynchronous = kwargs.get("non_blocking", False)
    elif func.overloadpacket is _aten.copy_:
        target, source = args[0].device, args[1].device
        asynchronous = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
    else:
        return False
    return target is not None and target.type == "cpu" and source.type != "cpu" and not asynchronous


def count(step: Step, index: int = 0) -> dict[str, float]:
    """Runs three steps and returns operations, syncs and FLOPs by phase and the bytes saved for backward.

    The three quantities are taken in steps of their own, so that no counter sees another's work.
    """
    values: dict[str, float] = {}
    counter = Operations()
    with counter:
        for phase in phases(step, index):
            values[f"{phase}.operations"], values[f"{phase}.syncs"] = counter.operations, counter.syncs
            counter.operations = counter.syncs = 0
    if step.variant.ranks > 1:
        values |= {f"{COMMUNICATE}.messages": counter.messages, f"{COMMUNICATE}.bytes": counter.bytes}
    with FlopCounterMode(display=False) as flops:
        before = 0
        for phase in phases(step, index + 1):
            values[f"{phase}.flops"] = flops.get_total_flops() - before
            before = flops.get_total_flops()
    if step.trains:
        values["saved_bytes"] = _saved_bytes(step, index + 2)
    return {name: value for name, value in values.items() if not name.startswith("zero_grad")}


def phases(step: Step, index: int) -> Iterator[str]:
    """Runs one step and yields the name of each part of it as it ends."""
    step.zero_grad()
    yield "zero_grad"
    loss = step.forward(index)
    yield "forward"
    if step.trains:
        step.backward(loss)
        yield "backward"
        step.optimize()
        yield "optimize"


def _saved_bytes(step: Step, index: int) -> int:
    parameters = {tensor.untyped_storage().data_ptr() for tensor in step.module.parameters()}
    saved: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    step.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = step.forward(index)
    # The sum is taken while the graph is alive: a storage freed early could lend its address to another.
    total = sum(saved.values())
    step.backward(loss)
    step.optimize()
    return total


def background_threads(build: Callable[[], Step]) -> tuple[Step, tuple[Caveat, ...]]:
    """Builds a step and warns when one run of it starts threads, whose operations no counter sees."""
    before = set(threading.enumerate())
    step = build()
    step.run(0)
    threads = [thread for thread in threading.enumerate() if thread not in before]
    if not threads:
        return step, ()
    return step, (
        Caveat(
            code="background-threads",
            message=f"the step works in {len(threads)} more Python thread(s); operations, syncs, FLOPs and thread CPU "
            "time count the main thread only",
        ),
    )
