"""A model on its way through the levels: exported once, for all that are made of its graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lowbit.deploy.artifact import LIBRARIES
from lowbit.deploy.check import Cause
from lowbit.deploy.check_cause import cause_of, packed_cause
from lowbit.deploy.check_export import silence

RUN_AS_IT_IS = "run the model as it is (O0)"


class CannotBeMade(Exception):
    """A level that a model does not have; `cause` says why."""

    def __init__(self, cause: Cause) -> None:
        super().__init__(cause.message)
        self.cause = cause


@dataclass(kw_only=True)
class Source:
    """A model in eval mode with the inputs it is made for, and the folder for artifacts; it is exported once."""

    module: nn.Module
    inputs: tuple[Any, ...]
    folder: Path
    _exported: dict[str, Any] = field(default_factory=dict)

    def program(self) -> torch.export.ExportedProgram:
        """Returns the exported model; raises CannotBeMade for one that is in no graph."""
        if not self._exported:
            packed = packed_cause(self.module)
            self._exported = {"cause": packed} if packed is not None else export(self.module, self.inputs)
        if "cause" in self._exported:
            raise CannotBeMade(self._exported["cause"])
        program: torch.export.ExportedProgram = self._exported["program"]
        return program

    def stored(self) -> Path:
        """Returns the file of the exported model, which O0, O2 and O3 have in common; raises CannotBeMade."""
        path = self.folder / "exported.pt2"
        program = self.program()
        if not self._exported.get("stored"):
            try:
                save(program, path)
            except Exception as error:
                raise CannotBeMade(cause_of(error, remedy="keep the model's Python with its tensors")) from error
            self._exported["stored"] = True
        return path

    def needs(self) -> list[str]:
        """Returns what has to be imported before the exported model is loaded: a graph has operators by name only."""
        names = {
            str(node.target).partition(".")[0] for node in self.program().graph.nodes if node.op == "call_function"
        }
        return [f"import {LIBRARIES[name]} before loading it" for name in sorted(names & LIBRARIES.keys())]


def export(module: nn.Module, inputs: tuple[Any, ...]) -> dict[str, Any]:
    """Returns the program of a model under `program`, or under `cause` why there is none; strict is the second try."""
    first: Exception | None = None
    for strict in (False, True):
        try:
            with silence(), torch.no_grad():
                return {"program": torch.export.export(module, inputs, strict=strict)}
        except Exception as error:  # noqa: BLE001 - torch.export raises errors of many kinds, and the model's own
            first = first or error
    assert first is not None
    return {"cause": cause_of(first, remedy=RUN_AS_IT_IS)}


def save(program: torch.export.ExportedProgram, path: Path) -> None:
    """Stores a program without the batch that it was exported with, which is no part of the model."""
    batch, program.example_inputs = program.example_inputs, None
    try:
        with silence():
            torch.export.save(program, path)
    finally:
        program.example_inputs = batch
