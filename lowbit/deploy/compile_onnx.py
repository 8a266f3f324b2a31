"""ONNX: an optional extra, `pip install stepbench[onnx]`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

NEEDED = ("onnx", "onnxscript", "onnxruntime")


def missing() -> tuple[str, ...]:
    """Returns the packages that ONNX needs and that are not installed."""
    return tuple(name for name in NEEDED if importlib.util.find_spec(name) is None)


def store(program: torch.export.ExportedProgram, path: Path) -> None:
    """Writes an exported model as ONNX, weights inside."""
    made: Any = torch.onnx.export(program, dynamo=True, verbose=False)
    made.save(str(path), external_data=False)


def session(path: Path) -> Callable[..., list[torch.Tensor]]:
    """Returns what runs an ONNX file by onnxruntime, with as many threads as torch."""
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    made = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [given.name for given in made.get_inputs()]

    def run(*inputs: torch.Tensor) -> list[torch.Tensor]:
        values = {name: value.detach().cpu().numpy() for name, value in zip(names, inputs, strict=True)}
        return [torch.from_numpy(found) for found in made.run(None, values)]

    return run
