"""Finds the line of a model's source at which torch gave up."""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from lowbit.quantization import engine, torch_ao

_HERE = Path(__file__).parent
# What takes a model through a flow, and is none of it; the layers of our own flows are.
_FLOWS = tuple(Path(module.__file__ or "") for module in (engine, torch_ao))
_TORCH = Path(torch.__file__).parent
_STANDARD = Path(sysconfig.get_paths()["stdlib"])
_LIBRARIES = ("site-packages", "dist-packages")
# torch's own messages quote the user's line as a traceback does.
_QUOTED = re.compile(r'File "([^"<>]+)", line (\d+), in (\w+)')

Frame = tuple[str, int, str]


def place_of(error: BaseException) -> str:
    """Returns the innermost line of the model's source that an error speaks of, or an empty string.

    Dynamo carries the user's stack with its errors, torch.export quotes it in the message; otherwise the model's code
    was running when the error was raised, and stands in the traceback below our own call, or in that of the cause.
    """
    seen: BaseException | None = error
    while seen is not None:
        for frames in (_carried(seen), _quoted(str(seen)), _raised(seen.__traceback__)):
            found = place(frames)
            if found:
                return found
        seen = seen.__cause__
    return ""


def place(frames: Iterable[Any]) -> str:
    """Returns the innermost of frames that is the model's source, as `file:line in function: text`.

    Frames are of traceback's FrameSummary, or (file, line, function), the outermost first.
    """
    plain = [(str(frame[0]), int(frame[1] or 0), str(frame[2])) for frame in frames]
    own = [frame for frame in plain if _is_of_model(frame[0])]
    if not own:
        return ""
    file, line, function = own[-1]
    text = linecache.getline(file, line).strip()
    return f"{_shown(file)}:{line} in {function}" + (f": {text}" if text else "")


def _carried(error: BaseException) -> list[Any]:
    return list(getattr(error, "real_stack", None) or ())


def _quoted(message: str) -> list[Frame]:
    return [(file, int(line), function) for file, line, function in _QUOTED.findall(message)]


def _raised(trace: TracebackType | None) -> list[Frame]:
    frames = [(frame.filename, frame.lineno or 0, frame.name) for frame in traceback.extract_tb(trace)]
    ours = [number for number, frame in enumerate(frames) if Path(frame[0]).is_relative_to(_HERE)]
    return frames[ours[-1] + 1 :] if ours else frames


def _is_of_model(file: str) -> bool:
    path = Path(file)
    if file.startswith("<") or path in _FLOWS or "torchao" in path.parts:
        return False
    if path.is_relative_to(_TORCH) or path.is_relative_to(_HERE):
        return False
    return not path.is_relative_to(_STANDARD) or any(part in _LIBRARIES for part in path.parts)


def _shown(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
