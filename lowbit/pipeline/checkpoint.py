"""Files that a run goes on from: plain tensors, numbers and texts, written in one piece and never unpickled."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lowbit.quantization.flow import QuantizationError

# History of the layout. 1: kind, identity, and what the kind holds.
FORMAT = 1
RUN, FLOAT = "run", "float"
State = dict[str, Any]


def save(path: Path, kind: str, identity: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Writes a checkpoint beside the old one and puts it in its place, so that a kill leaves one or the other.

    Raises QuantizationError where that cannot be written.
    """
    name = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            torch.save({"format": FORMAT, "kind": kind, "identity": dict(identity), **content}, stream)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise QuantizationError(f"{path} cannot be written: {error.strerror}; choose another folder") from error
    except BaseException:
        # An interrupt while writing leaves the old checkpoint, and no half of a new one.
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise


def load(path: Path, kind: str, identity: Mapping[str, Any]) -> State | None:
    """Reads the checkpoint of a run, or None where there is none.

    Raises QuantizationError for a file that is none, and for one of a run with another identity: model, flow, data,
    settings or seed.
    """
    if not path.exists():
        return None
    found = _read(path)
    if found.get("kind") != kind:
        raise QuantizationError(f"{path} is no checkpoint of a {kind}; choose another folder")
    if found.get("format") != FORMAT:
        raise QuantizationError(f"{path} has format {found.get('format')}, this version reads {FORMAT}; start afresh")
    other = found["identity"]
    apart = [name for name in identity if other.get(name) != identity[name]]
    if apart:
        words = ", ".join(
            f"{name} {_short(other.get(name))} there, {_short(identity[name])} here" for name in apart[:3]
        )
        more = f" and {len(apart) - 3} more" if len(apart) > 3 else ""
        raise QuantizationError(
            f"{path} is a checkpoint of another run: {words}{more}; start afresh (--fresh) or choose another folder"
        )
    return found


def float_state(path: Path, identity: Mapping[str, Any]) -> State:
    """Reads the float state to start from: a float checkpoint of this pipeline, or the plain state of any model.

    `identity` has the model's name, the data's, and a fingerprint of its pictures. Raises QuantizationError for a
    checkpoint of another model, and for one that was trained on other data: what is tested here may have been trained
    on there.
    """
    if not path.exists():
        raise QuantizationError(f"{path}: there is no such file; give a float checkpoint or a saved state_dict")
    found = _read(path)
    if "format" not in found or "kind" not in found:
        return found
    if found["kind"] != FLOAT:
        raise QuantizationError(f"{path} is no float checkpoint; float.pt in the same folder is")
    other = found["identity"]
    if other["model"] != identity["model"]:
        raise QuantizationError(
            f"{path} is a checkpoint of another model: {other['model']} there, {identity['model']} here"
        )
    for name in ("data", "pictures"):
        if other[name] != identity[name]:
            raise QuantizationError(
                f"{path} was trained on other {name}: {_short(other[name])} there, {_short(identity[name])} here; give "
                "the data that it was trained on, split by the same seed"
            )
    state: State = found["module"]
    return state


def load_into(module: nn.Module, state: Mapping[str, Any], origin: str) -> None:
    """Loads a state into a model; raises QuantizationError where it is that of another."""
    try:
        module.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # The first line only names the class; the first difference stands below.
        why = (lines[1] if len(lines) > 1 else lines[0])[:160]
        raise QuantizationError(
            f"{origin} is a checkpoint of another model than {type(module).__name__}: {why}"
        ) from error


def digest(state: Mapping[str, Any]) -> str:
    """Returns a SHA-256 of a state of tensors."""
    found = hashlib.sha256()
    for name, value in state.items():
        found.update(name.encode())
        if isinstance(value, torch.Tensor):
            found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def copied(state: Mapping[str, Any]) -> State:
    """Returns a state that training does not change any more."""
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in state.items()}


def _read(path: Path) -> State:
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:
        # Whatever a file may hold: torch raises errors of pickle, zip, tar and its own.
        raise QuantizationError(
            f"{path} cannot be read as a checkpoint: it is damaged, or another kind of file"
        ) from error
    if not isinstance(found, dict):
        raise QuantizationError(f"{path} holds a {type(found).__name__}; give a float checkpoint or a saved state_dict")
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:12]}..."
