"""The C++ beside this file, compiled where it is first needed, kept in the user's cache, and loaded.

The code is plain C++ without torch's headers, so that it compiles in half a second and takes addresses. It is compiled
for this processor; another one, another compiler or other code gets a library of its own. A file's name says what it
is of, by whom, and what is in it.
"""

from __future__ import annotations

import contextlib
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
    "rows": (c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int32, c_void_p),
    "encode": (c_void_p, c_int64, c_int64, c_void_p),
    "decode": (c_void_p, c_int64, c_int64, c_void_p),
    "average": (c_void_p, c_void_p, c_int64, c_double, c_int64, c_void_p, c_void_p),
    "vectors": (c_void_p, c_int64, c_void_p),
}


class CannotCompile(RuntimeError):
    """There is no compiler, or it refuses the code; the message says which and why."""


def compilers() -> list[list[str]]:
    """Returns the calls of C++ compilers to be tried: what the environment variable CXX says, or all there are."""
    said = shlex.split(os.environ.get("CXX", ""))
    if not said:
        return [[found] for found in map(shutil.which, COMPILERS) if found is not None]
    found = shutil.which(said[0])
    if found is None:
        raise CannotCompile(f"CXX={os.environ['CXX']!r} names no program; unset it, or name a C++ compiler")
    return [[found, *said[1:]]]


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
    programs, folder, code = compilers(), _folder(), _code()
    refusals = []
    for program in programs:
        try:
            name = f"{code}-{_digest(' '.join(program).encode(), _output([*program, '--version']))}"
            return _kept(folder, name) or _compiled([*program, *FLAGS], folder, name)
        except CannotCompile as error:
            refusals.append(str(error))
    # Whoever made it, code for this processor is as good; only where a compiler works it is that one's.
    found = _kept(folder, code)
    if found is None:
        absent = f"there is no C++ compiler: none of {', '.join(COMPILERS)} is on PATH, and CXX names none"
        raise CannotCompile("; ".join(refusals) or absent)
    return found


def _folder() -> Path | None:
    """Returns where libraries are kept; None for who has no home."""
    with contextlib.suppress(RuntimeError):
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "stepbench"
    return None


def _code() -> str:
    """Returns what tells libraries of different code apart, and such for different processors."""
    sources = [source.read_bytes() for source in SOURCES]
    return _digest(*sources, " ".join(FLAGS).encode(), platform.machine().encode(), _features())


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _features() -> bytes:
    """Returns what the processor can do, as far as the system tells: homes are shared between machines."""
    try:
        lines = Path("/proc/cpuinfo").read_bytes().splitlines()
    except OSError:
        return platform.processor().encode()
    return b"".join(sorted({line for line in lines if line.startswith((b"model name", b"flags", b"Features"))}))


def _kept(folder: Path | None, name: str) -> ctypes.CDLL | None:
    """Loads a library of a name whose content is what its own name says: a damaged one would end the process."""
    paths = list[Path]()
    with contextlib.suppress(OSError):
        paths = sorted(folder.glob(f"{name}-*.so")) if folder is not None else []
    for path in paths:
        with contextlib.suppress(OSError):
            if path.stem.endswith(f"-{_digest(path.read_bytes())}"):
                return ctypes.CDLL(str(path))
    return None


def _compiled(command: list[str], folder: Path | None, name: str) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory(prefix="stepbench-") as own:
        made = Path(own) / "library.so"
        # Named, as a compiler of C leaves it out.
        _output([*command, "-o", str(made), *map(str, SOURCES), "-lstdc++", "-lm"])
        try:
            return ctypes.CDLL(str(_stored(made, folder, name) or made))
        except OSError as error:
            raise CannotCompile(f"what {command[0]} made cannot be loaded: {error}") from None


def _stored(made: Path, folder: Path | None, name: str) -> Path | None:
    """Moves a whole file to where libraries are kept, as others may do the same at this moment; None if it may not."""
    if folder is None:
        return None
    with contextlib.suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as own:
            path = folder / f"{name}-{_digest(made.read_bytes())}.so"
            shutil.copy(made, Path(own) / path.name)
            (Path(own) / path.name).replace(path)
            return path
    return None


def _output(command: list[str]) -> bytes:
    try:
        return subprocess.run(command, capture_output=True, check=True, timeout=300).stdout
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise CannotCompile(f"{command[0]} failed: {next(iter(said), 'without a word')}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompile(f"{command[0]} cannot be run: {error}") from None
