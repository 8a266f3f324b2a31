"""Steps in a CUDA graph: what is kept stays where it is, and what a graph cannot do is refused.

A graph replays kernels on the memory that they had while it was captured, without Python: a running average that a step
put into a new tensor would be read from the old one for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

# Where a part of a parameter's state is.
Place = tuple[dict[str, torch.Tensor], str]

_held: dict[int, torch.Tensor] = {}


def capturing() -> bool:
    """Says whether the current stream is being captured in a graph."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def held(values: torch.Tensor) -> torch.Tensor:
    """Returns a tensor of a cache, which is kept for good if a graph is captured that reads it."""
    if capturing():
        _held[id(values)] = values
    return values


def keep(
    places: Sequence[Place], values: Sequence[torch.Tensor], healthy: torch.Tensor | None, *, in_place: bool
) -> None:
    """Keeps values in places; where `healthy` is false, what was there stays, or zeros.

    With `in_place` what is there is overwritten, and is the same tensor afterwards.
    """
    if healthy is not None:
        before = [state.get(key, 0) for state, key in places]
        values = [torch.where(healthy, new, kept) for new, kept in zip(values, before, strict=True)]
    old: list[torch.Tensor] = []
    new_of_old: list[torch.Tensor] = []
    for (state, key), new in zip(places, values, strict=True):
        there = state.get(key)
        if in_place and there is not None:
            if there is not new:
                old.append(there)
                new_of_old.append(new)
        else:
            state[key] = new
    if old:
        torch._foreach_copy_(old, new_of_old)


def check(optimizer: str, *, capturable: bool, ready: Callable[[], bool]) -> None:
    """Raises RuntimeError while a step is captured that may not be, or that would make its state in every replay."""
    if not capturing():
        return
    if not capturable:
        raise RuntimeError(f"{optimizer}.step() is being captured in a graph; make the optimizer with capturable=True")
    if not ready():
        raise RuntimeError(
            f"{optimizer}.step() is being captured in a graph before all of its state is there, which every replay "
            "would make anew; take a step of the same kind first, on a side stream (torch's notes on CUDA graphs)"
        )


def has_momentum(optimizer: torch.optim.Optimizer) -> bool:
    """Says whether the momentum of all that an optimizer is to move is there, in full precision or in codes."""
    moved = (p for group in optimizer.param_groups for p in group["params"] if p.grad is not None)
    return all(any(key.startswith("momentum") for key in optimizer.state.get(p, ())) for p in moved)


def check_options(optimizer: str, *, stat_every: int, compiled: object) -> None:
    """Raises ValueError for options of a capturable optimizer that a replay cannot follow."""
    if stat_every != 1:
        raise ValueError(
            f"capturable=True, stat_every={stat_every!r}: every replay of a graph does the same, so that {optimizer} "
            "renews its averages in every step; leave stat_every=1"
        )
    if compiled:
        raise ValueError(
            f"capturable=True, compiled={compiled!r}: torch's operations make a step that is captured; leave one away"
        )
