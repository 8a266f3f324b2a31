"""The source of functions, as it was when their file was first looked at: files may change while a profile is taken."""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
import io
import linecache
import tokenize
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from bench.data.measurement import Caveat


@dataclass(frozen=True)
class Text:
    """A file's lines and the SHA-256 of its bytes."""

    lines: tuple[str, ...]
    sha256: str


class Sources:
    """Files that are read once."""

    def __init__(self) -> None:
        self.begun = dt.datetime.now(dt.UTC).timestamp()
        self._texts: dict[str, Text] = {}

    def text(self, file: str) -> Text:
        """Returns a file's lines; those of code that was generated come from where its generator left them."""
        if file not in self._texts:
            try:
                content = Path(file).read_bytes()
                encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
                lines = content.decode(encoding, "replace").splitlines()
            except (OSError, SyntaxError):
                lines = [line.rstrip("\r\n") for line in linecache.getlines(file)]
                content = "\n".join(lines).encode()
            self._texts[file] = Text(tuple(lines), hashlib.sha256(content).hexdigest())
        return self._texts[file]

    def block(self, code: CodeType) -> tuple[int, list[str]]:
        """Returns the number of a function's first line and its lines, decorators included."""
        lines = self.text(code.co_filename).lines
        last = max((line for *_, line in code.co_lines() if line is not None), default=code.co_firstlineno)
        if last > len(lines):
            # Not its source: shortened since it was imported, or never there.
            return code.co_firstlineno, ["<source not available>"] * (last - code.co_firstlineno + 1)
        found = inspect.getblock([f"{line}\n" for line in lines[code.co_firstlineno - 1 :]])
        count = max(len(found), last - code.co_firstlineno + 1)
        return code.co_firstlineno, list(lines[code.co_firstlineno - 1 :][:count])

    def changed(self, code: CodeType, name: str) -> tuple[Caveat, ...]:
        """Returns a caveat if a function's file was written after this process began: its text may not be what ran."""
        path = Path(code.co_filename)
        if not path.is_file() or path.stat().st_mtime <= self.begun:
            return ()
        message = f"{name} was changed while it was profiled: what ran may be other lines"
        return (Caveat(code="source-changed", message=message),)
