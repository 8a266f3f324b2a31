"""What is stored of a model at a level, how it is loaded again, and whether a fresh process computes the same by it.

Run as `python -m lowbit.deploy.artifact KIND ARTIFACT BATCH`, it is that fresh process: it knows nothing of the model's
Python, loads the artifact, runs the batch that is stored beside it, and prints the largest difference as JSON. Nothing
is unpickled that could be anything but tensors.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch.utils._pytree import tree_leaves

from lowbit.quantization.pt2e_products import inductor_options

# exported: torch.export; compiled and autotuned: the same, compiled where it is loaded; package: AOTInductor;
# script: TorchScript, the one format for packed weights; onnx: ONNX; state: tensors alone, which cannot run.
Kind = Literal["exported", "compiled", "autotuned", "package", "script", "onnx", "state"]
Run = Callable[..., Any]
TIMEOUT_S = 900
# Operators that come with a module of their own, by their namespace.
LIBRARIES = {"quantized_decomposed": "torch.ao.quantization.fx._decomposed"}
_AUTOTUNE = "max-autotune"


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file and what it is; `engine` is the one for which packed weights in it are packed."""

    kind: Kind
    path: Path
    engine: str = ""


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """What a fresh process found: the largest difference to what was expected, or why there is none."""

    difference: float | None
    failure: str = ""


def outputs_of(result: Any) -> list[torch.Tensor]:
    """Returns the tensors of a model's result in float64, quantized ones by the values they stand for."""
    leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    return [(leaf.dequantize() if leaf.is_quantized else leaf).detach().double() for leaf in leaves]


def difference(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """Returns the largest absolute difference of two results; infinite where shapes differ, or one is not a number."""
    if [one.shape for one in found] != [other.shape for other in expected]:
        return float("inf")
    parts = [(one - other).abs().max() for one, other in zip(found, expected, strict=True) if one.numel()]
    most = float(torch.stack(parts).max()) if parts else 0.0
    return most if most == most else float("inf")  # noqa: PLR0124 - only NaN differs from itself


def compiled(module: Any, mode: str | None = None) -> Run:
    """Returns a model compiled by Inductor for the shapes of its first call, with its weights as constants."""
    with warnings.catch_warnings():
        # It warns of what it imports in its turn.
        warnings.simplefilter("ignore")
        from torch._inductor import config

    made: Any = torch.compile(module, dynamic=False, mode=mode)
    settings = {"freezing": True, **({} if mode else inductor_options(module))}

    def run(*inputs: Any) -> Any:
        # Whether weights are constants is looked at while the first call compiles; as an option it comes too late.
        with config.patch(settings), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return made(*inputs)

    return run


def autotuned(module: Any) -> Run:
    """Returns a model compiled as `compiled` does, for which Inductor times candidates of each kernel."""
    return compiled(module, _AUTOTUNE)


def load(artifact: Artifact) -> Run:
    """Loads an artifact and returns what runs it."""
    path = str(artifact.path)
    if artifact.kind == "package":
        run: Run = torch._inductor.aoti_load_package(path)  # noqa: SLF001 - documented under this name
        return run
    if artifact.kind == "script":
        from lowbit.quantization.engine import OnEngine, using

        # Packed weights are packed anew when they are loaded, for the engine of that moment.
        with using(artifact.engine), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return OnEngine(torch.jit.load(path), artifact.engine)
    if artifact.kind == "onnx":
        from lowbit.deploy.compile_onnx import session

        return session(artifact.path)
    if artifact.kind == "state":
        state = torch.load(path, weights_only=True)
        return lambda *_: state
    for library in LIBRARIES.values():
        with contextlib.suppress(ImportError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(library)
    module: Run = torch.export.load(path).module()
    if artifact.kind == "exported":
        return module
    return compiled(module) if artifact.kind == "compiled" else autotuned(module)


def store_batch(path: Path, inputs: Sequence[Any], expected: Sequence[torch.Tensor]) -> None:
    """Stores a batch and what is expected for it, and not what else lies where the batch was cut from."""
    own = [value.clone() if isinstance(value, torch.Tensor) else value for value in inputs]
    torch.save({"inputs": own, "expected": list(expected)}, path)


def fresh(artifact: Artifact, batch: Path) -> Fresh:
    """Loads an artifact in a fresh process, runs the stored batch, and compares."""
    words = [sys.executable, "-m", __spec__.name, artifact.kind, str(artifact.path), str(batch), artifact.engine]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Fresh(difference=None, failure=f"took more than {TIMEOUT_S} seconds")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"]
        return Fresh(difference=None, failure=lines[-1])
    return Fresh(difference=float(json.loads(done.stdout.splitlines()[-1])["difference"]))


def main(argv: Sequence[str]) -> int:
    """Loads, runs and compares, and prints the largest difference."""
    kind, path, batch, engine = argv
    stored = torch.load(batch, weights_only=True)
    with torch.no_grad():
        result = load(Artifact(kind=cast("Kind", kind), path=Path(path), engine=engine))(*stored["inputs"])
    sys.stdout.write(json.dumps({"difference": difference(outputs_of(result), stored["expected"])}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
