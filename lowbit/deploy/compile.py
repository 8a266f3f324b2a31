"""Takes a model through the levels of deployment, and checks what each gives, here and in a fresh process."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lowbit.deploy import artifact
from lowbit.deploy.artifact import Artifact, Fresh
from lowbit.deploy.check import Cause
from lowbit.deploy.check_cause import cause_of
from lowbit.deploy.compile_grid import output_step
from lowbit.deploy.compile_levels import DEFAULT, LEVELS, Level
from lowbit.deploy.compile_source import RUN_AS_IT_IS, CannotBeMade, Source

Clock = Callable[[], float]


class UnknownLevel(ValueError):
    """A level that there is none of; the message has the known ones."""


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model at one level.

    `seconds` is the time until its first result was there. `artifact` is the file that was stored, with its bytes in
    `size`. `difference` is the largest absolute one of its outputs to eager's, and `lsb` the same in steps of a
    quantized model's output (`output_step`). `fresh` is the largest difference of what a fresh process computes by the
    artifact to what this one did; `fresh_failure` says why there is none. `cause` is why the level, or what is stored
    of it, is not to be had.
    """

    level: str
    summary: str
    seconds: float | None = None
    artifact: str = ""
    size: int | None = None
    difference: float | None = None
    lsb: float | None = None
    fresh: float | None = None
    fresh_failure: str = ""
    notes: tuple[str, ...] = ()
    cause: Cause | None = None

    @property
    def is_made(self) -> bool:
        """Says whether the model has this level."""
        return self.seconds is not None


def build(
    module: nn.Module,
    inputs: torch.Tensor | tuple[Any, ...],
    folder: Path,
    *,
    clock: Clock,
    levels: Sequence[str] = DEFAULT,
    known: Mapping[str, Level] = LEVELS,
    fresh: Callable[[Artifact, Path], Fresh] = artifact.fresh,
    note: Callable[[str], None] = lambda _: None,
) -> list[Built]:
    """Makes a model, in eval mode, at each level for inputs like these, and stores what can be stored in a folder.

    `clock` gives seconds; `note` is told the level that is being made. A level that the model cannot take is a row with
    its cause. Raises UnknownLevel.
    """
    check_levels(levels, known)
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    mode = module.training
    module.eval()
    try:
        with torch.no_grad():
            expected = artifact.outputs_of(module(*arguments))
        step = output_step(module, arguments)
        source = Source(module=module, inputs=arguments, folder=folder)
        found = []
        for name in levels:
            note(name)
            found.append(_built(known[name], source, expected, step, clock, fresh))
    finally:
        module.train(mode)
    return found


def check_levels(levels: Sequence[str], known: Mapping[str, Level] = LEVELS) -> None:
    """Raises UnknownLevel for a level that there is none of."""
    for name in levels:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.3)
            hint = f", did you mean {nearest[0]!r}?" if nearest else ""
            raise UnknownLevel(f"unknown level {name!r}{hint} (known: {', '.join(known)})")


def _built(
    level: Level,
    source: Source,
    expected: Sequence[torch.Tensor],
    step: float | None,
    clock: Clock,
    fresh: Callable[[Artifact, Path], Fresh],
) -> Built:
    start = clock()
    try:
        made = level.make(source)
        with torch.no_grad():
            result = artifact.outputs_of(made.run(*source.inputs))
    except CannotBeMade as error:
        return Built(level=level.name, summary=level.summary, cause=error.cause)
    except Exception as error:  # noqa: BLE001 - compilers and formats raise errors of many kinds
        return Built(level=level.name, summary=level.summary, cause=cause_of(error, remedy=RUN_AS_IT_IS))
    seconds = clock() - start
    apart = artifact.difference(result, expected)
    again = Fresh(difference=None)
    if made.artifact is not None:
        batch = source.folder / f"{level.name}-batch.pt"
        state = made.artifact.kind == "state"
        artifact.store_batch(
            batch,
            () if state else source.inputs,
            artifact.outputs_of(source.module.state_dict()) if state else result,
        )
        again = fresh(made.artifact, batch)
        batch.unlink()
    return Built(
        level=level.name,
        summary=level.summary,
        seconds=seconds,
        artifact=made.artifact.path.name if made.artifact else "",
        size=made.artifact.path.stat().st_size if made.artifact else None,
        difference=apart,
        lsb=apart / step if step and math.isfinite(apart) else None,
        fresh=again.difference,
        fresh_failure=again.failure,
        notes=made.notes,
        cause=made.cause,
    )
