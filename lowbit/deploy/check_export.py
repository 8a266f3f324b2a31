"""Tries a model's forward, torch.export, and Dynamo on the whole of it."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from lowbit.deploy.check import Ability, Cause
from lowbit.deploy.check_cause import cause_of, known_cause, packed_cause
from lowbit.deploy.check_place import place

_WAYS = {False: "export", True: "export, strict"}


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keeps back what torch, and the model's own code, print, log and warn of: a report says it in a line."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def runs(module: nn.Module, inputs: tuple[Any, ...]) -> Ability:
    """Tries the model itself."""
    try:
        with silence(), torch.no_grad():
            module(*inputs)
    except Exception as error:  # noqa: BLE001 - a model's own code raises what it likes
        cause = cause_of(error, remedy="mend the model, or give inputs that it takes; nothing else was tried")
        return Ability(name="forward", able=False, causes=(cause,))
    return Ability(name="forward", able=True, note="eager")


def exports(module: nn.Module, inputs: tuple[Any, ...], *, strict: bool) -> Ability:
    """Tries torch.export: strict reads the model's bytecode, the other way runs its Python."""
    packed = packed_cause(module)
    if packed is not None:
        return Ability(name=_WAYS[strict], able=False, causes=(packed,))
    try:
        with silence(), torch.no_grad():
            program = torch.export.export(module, inputs, strict=strict)
    except Exception as error:  # noqa: BLE001 - torch.export raises errors of many kinds, and the model's own
        other = "strict=False, which runs the model's Python" if strict else "strict=True, which reads its bytecode"
        return Ability(name=_WAYS[strict], able=False, causes=(cause_of(error, remedy=f"export with {other}"),))
    operators = sum(node.op == "call_function" for node in program.graph.nodes)
    return Ability(name=_WAYS[strict], able=True, note=f"{operators} operators")


def compiles(module: nn.Module, inputs: tuple[Any, ...]) -> Ability:
    """Tries whether Dynamo, the front of torch.compile, takes the whole model as one graph."""
    packed = packed_cause(module)
    if packed is not None:
        return Ability(name="compile", able=False, causes=(packed,))
    # Importing Dynamo takes a second, which who only reads reports need not wait for.
    import torch._dynamo as dynamo

    remedy = "leave this part out of the compilation: torch.compiler.disable"
    try:
        with silence(), torch.no_grad():
            found = dynamo.explain(module)(*inputs)
    except Exception as error:  # noqa: BLE001 - Dynamo raises errors of many kinds, and the model's own
        return Ability(name="compile", able=False, causes=(cause_of(error, remedy=remedy),))
    if found.break_reasons:
        causes = tuple(dict.fromkeys(_broken(reason, remedy) for reason in found.break_reasons))
        breaks = len(found.break_reasons)
        note = f"{breaks} graph break{'s' * (breaks > 1)}"
        return Ability(name="compile", able=False, note=note, causes=causes)
    if found.graph_count < 1:
        nothing = Cause(message="Dynamo found nothing in the model to compile", remedy="run the model as it is (O0)")
        return Ability(name="compile", able=False, causes=(nothing,))
    return Ability(name="compile", able=True, note="one graph, no break")


def _broken(reason: Any, remedy: str) -> Cause:
    where = place(reason.user_stack)
    said = str(reason.reason)
    return known_cause(said, place=where) or Cause(message=said.splitlines()[0], remedy=remedy, place=where)
