"""The C++ beside this file, compiled where it is first needed, kept in the user's cache, and loaded.

The code is plain C++ without torch's headers, so that it compiles in half a second and takes addresses. It is compiled
for this processor; another one, another compiler or other code gets a library of its own.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from ctypes import c_double, c_int32, c_int64, c_void_p
from pathlib import Path
from typing import Any

import torch

SOURCES = tuple(sorted(Path(__file__).parent.glob("*.cpp")))
COMPILERS = ("g++", "clang++", "c++")
# Rounding and comparing must not be left to calls for the sake of errno and traps that nobody reads.
FLAGS = (
    "-std=c++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopenmp", "-shared", "-fPIC",
)  # fmt: skip
# What each function takes; the structures behind addresses are described in the C++, beside what fills them.
SIGNATURES: dict[str, tuple[Any, ...]] = {
    "descend": (c_void_p, c_int64, c_void_p, c_void_p, c_int32),
    "precondition": (c_void_p, c_int64, c_void_p, c_double, c_double, c_void_p, c_int32),
    "encode": (c_void_p, c_int64, c_int64, c_void_p),
    "decode": (c_void_p, c_int64, c_int64, c_void_p),
    "vectors": (c_void_p, c_int64, c_void_p),
}


class CannotCompile(RuntimeError):
    """There is no compiler, or it refuses the code; the message says which and why."""


def compiler() -> list[str] | None:
    """Returns the call of a C++ compiler: what the environment variable CXX says, or the first there is."""
    said = shlex.split(os.environ.get("CXX", ""))
    if said:
        found = shutil.which(said[0])
        if found is None:
            raise CannotCompile(f"CXX={os.environ['CXX']!r} names no program; unset it, or name a C++ compiler")
        return [found, *said[1:]]
    found = next(filter(None, map(shutil.which, COMPILERS)), None)
    return None if found is None else [found]


def call(name: str, *arguments: float | None) -> None:
    """Calls a function of the library, other threads of Python running meanwhile; profilers see it by its name."""
    function = load()[name]
    if torch._C._autograd._profiler_enabled():  # noqa: SLF001 - there is no public way, and a range costs more than a call
        with torch.profiler.record_function(f"lowbit::{name}"):
            function(*arguments)
    else:
        function(*arguments)


@functools.cache
def missing() -> str | None:
    """Returns why the library cannot be had here, None where it can; what asks first compiles it."""
    try:
        load()
    except CannotCompile as error:
        return str(error)
    return None


@functools.cache
def load() -> dict[str, Any]:
    """Returns the functions by name; raises CannotCompile where they are not in the cache and cannot be compiled."""
    library = _library()
    functions = {name: getattr(library, f"stepbench_{name}") for name in SIGNATURES}
    for name, function in functions.items():
        function.argtypes, function.restype = SIGNATURES[name], None
    return functions


def _library() -> ctypes.CDLL:
    program = compiler()
    if program is None:
        raise CannotCompile(f"there is no C++ compiler: none of {', '.join(COMPILERS)} is on PATH, and CXX names none")
    command = [*program, *FLAGS]
    name = f"{_key(command)}.so"
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepbench"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _loaded(folder / name) or _compiled(command, folder / name)
    except CannotCompile:
        raise
    except (OSError, RuntimeError):
        # Without a home to write to, each process compiles its own.
        with tempfile.TemporaryDirectory(prefix="stepbench-") as own:
            return _compiled(command, Path(own) / name)


def _key(command: list[str]) -> str:
    """Returns what tells libraries apart: code, command, compiler and processor."""
    parts = [source.read_bytes() for source in SOURCES]
    parts += [
        " ".join(command).encode(),
        _output([*command[: -len(FLAGS)], "--version"]),
        platform.machine().encode(),
        _features(),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:24]


def _features() -> bytes:
    """Returns what the processor can do, as far as the system tells: homes are shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    return b"".join(sorted({line for line in lines if line.startswith((b"model name", b"flags", b"Features"))}))


def _loaded(path: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None


def _compiled(command: list[str], path: Path) -> ctypes.CDLL:
    """Compiles beside a path and moves the whole file there, as others may do the same at this moment."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        # Named, as a compiler of C leaves it out.
        _output([*command, "-o", str(made), *map(str, SOURCES), "-lstdc++", "-lm"])
        made.replace(path)
    found = _loaded(path)
    if found is None:
        raise CannotCompile(f"{command[0]} made {path}, which cannot be loaded")
    return found


def _output(command: list[str]) -> bytes:
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=300).stdout
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise CannotCompile(f"{command[0]} failed: {next(iter(said), 'without a word')}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompile(f"{command[0]} cannot be run: {error}") from None
