"""Checks what a model can be deployed by: export, the compiler, and the engines of quantized kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

PASS = "PASS"  # noqa: S105 - the verdict, no password


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Why something cannot be done: what is in the way, where it stands, and what to do about it.

    `place` is a file and a line of the model's source with the function and the text there, or a layer's name where
    no line of Python is at fault; empty where neither is known. `operator` is torch's name of it, where it is one.
    """

    message: str
    remedy: str
    place: str = ""
    operator: str = ""


@dataclass(frozen=True, kw_only=True)
class Ability:
    """One thing that was tried: whether it can be done, a word on how, and the causes where it cannot."""

    name: str
    able: bool
    note: str = ""
    causes: tuple[Cause, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What was tried with a model, in the order in which it was tried."""

    model: str
    torch: str
    abilities: tuple[Ability, ...]

    @property
    def passes(self) -> bool:
        """Says whether everything that was tried can be done."""
        return all(ability.able for ability in self.abilities)

    def causes(self) -> dict[Cause, list[str]]:
        """Returns each cause once, with the names of what it stands in the way of."""
        found: dict[Cause, list[str]] = {}
        for ability in self.abilities:
            for cause in ability.causes:
                found.setdefault(cause, []).append(ability.name)
        return found


def check(module: nn.Module, inputs: torch.Tensor | tuple[Any, ...], *, name: str = "") -> CheckReport:
    """Tries a model, in eval mode, with inputs like those that it will see; nothing is changed in it.

    Tried are its own forward, torch.export in its two ways, Dynamo on the whole model without a graph break, and each
    quantized engine that this torch has. A float model is taken to int8 for each engine; a model with packed weights is
    packed again; one that rounds in float, as k-bit models do, needs no engine. What cannot be done is in the report,
    never raised. Dynamo forgets what it compiled before.
    """
    from lowbit.deploy.check_engines import engines
    from lowbit.deploy.check_export import compiles, exports, runs

    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    mode = module.training
    try:
        module.eval()
        found = [runs(module, arguments)]
        if found[0].able:
            found += [exports(module, arguments, strict=False), exports(module, arguments, strict=True)]
            found += [compiles(module, arguments), *engines(module, arguments)]
    finally:
        module.train(mode)
    return CheckReport(model=name or type(module).__name__, torch=str(torch.__version__), abilities=tuple(found))
