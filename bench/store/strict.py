"""JSON of strangers, read with care: bounded, without a name twice, and without a number that is none."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import InvalidRecord

# Nothing that one of the tools writes comes near to this; what does is something else.
MOST_BYTES = 1 << 28
LONGEST_TEXT = 1 << 20
# Digits of a whole number: one of more has no place among numbers of 64 bits, whole or not.
LONGEST_NUMBER = 40
# The first byte of a pickle of any protocol in use, which is never opened: to unpickle is to run.
_PICKLE = b"\x80"


def read(path: Path, *, most_bytes: int = MOST_BYTES, longest: int = LONGEST_TEXT, finite: bool = True) -> Any:
    """Returns the content of a file of JSON; raises InvalidRecord, on one line, for what is none.

    Besides what is no JSON, refused are files of more than `most_bytes`, texts of more than `longest` characters, a
    name that stands twice in one object (readers differ in which of the two they see), nesting beyond the parser's
    limit and, if `finite`, NaN and infinities; else these are returned as the numbers they are.
    """
    return decode(content(path, most_bytes), str(path), longest=longest, finite=finite)


def content(path: Path, most_bytes: int = MOST_BYTES) -> bytes:
    """Returns the bytes of a regular file of no more than `most_bytes`."""
    try:
        if not path.is_file():
            raise InvalidRecord(f"{path}: {'is no regular file' if path.exists() else 'there is no such file'}")
        if path.stat().st_size > most_bytes:
            raise InvalidRecord(f"{path}: larger than {most_bytes >> 20} MB; nothing that is read here is")
        return path.read_bytes()
    except OSError as error:
        raise InvalidRecord(f"{path}: cannot be read: {error.strerror}") from error


def decode(text: bytes, name: str, *, longest: int = LONGEST_TEXT, finite: bool = True) -> Any:
    """Returns what some bytes of JSON hold; see `read`."""
    rules = _Rules(name, longest, finite)
    try:
        if text.startswith(_PICKLE):
            raise rules.wrong("a pickle, whatever its name; nothing is ever unpickled: write JSON")
        found = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=rules.unique,
            parse_constant=rules.constant,
            parse_float=rules.number,
            parse_int=rules.whole,
        )
        rules.check(found)
    except RecursionError as error:
        raise rules.wrong("nested too deeply to be anything that is read here") from error
    except UnicodeDecodeError as error:
        raise rules.wrong(f"no UTF-8 at byte {error.start}; JSON is") from error
    except ValueError as error:
        raise rules.wrong(f"no JSON ({error}); the file was cut off or changed") from error
    return found


@dataclass(frozen=True)
class _Rules:
    """What is allowed inside of a document of some name."""

    name: str
    longest: int
    finite: bool

    def wrong(self, what: str) -> InvalidRecord:
        return InvalidRecord(f"{self.name}: {what}")

    def constant(self, text: str) -> float:
        if self.finite:
            raise self.wrong(f"holds {text}, which is no number of JSON")
        return float(text.replace("Infinity", "inf"))

    def number(self, text: str) -> float:
        value = float(text)
        if self.finite and not math.isfinite(value):
            raise self.wrong(f"holds a number out of range: {text[:20]}")
        return value

    def whole(self, text: str) -> int:
        if len(text) > LONGEST_NUMBER:
            raise self.wrong(f"holds a number out of range: {text[:20]}...")
        return int(text)

    def unique(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            met: set[str] = set()
            twice = next(key for key, _ in pairs if key in met or met.add(key))  # type: ignore[func-returns-value]  # add() returns None, which is what makes it go on
            raise self.wrong(f"the name {twice[:40]!r} stands twice in one object")
        return found

    def check(self, value: Any) -> None:
        """Looks for texts that are too long, or that nobody could print."""
        if isinstance(value, str):
            if len(value) > self.longest:
                raise self.wrong(f"holds a text of {len(value):,} characters; at most {self.longest:,} are read")
            # A surrogate without its partner can be written in JSON, and stored by nobody.
            if not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
                raise self.wrong(f"holds a text with half a character ({value[:20]!a})")
        elif isinstance(value, (dict, list)):
            for item in value:
                self.check(item)
            for item in value.values() if isinstance(value, dict) else ():
                self.check(item)
