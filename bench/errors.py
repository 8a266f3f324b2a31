"""One class per mistake; each message says what was given, what is allowed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# More names than this are no help on one line.
MOST_LISTED = 30


class StepbenchError(Exception):
    """Anything a user can cause and mend; commands print it on one line, without a traceback."""

    exit_code = 2


class UnknownName(StepbenchError):
    """A name that nobody registered; the message carries the nearest names."""

    def __init__(self, kind: str, given: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.given = given
        self.known = sorted(known)
        nearest = difflib.get_close_matches(given, self.known, n=3, cutoff=0.5)
        hint = f", did you mean {' or '.join(map(repr, nearest))}?" if nearest else "."
        listed = ", ".join(self.known) or "none"
        if len(self.known) > MOST_LISTED:
            listed = f"{len(self.known)} names, which `stepbench list` shows"
        super().__init__(f"unknown {kind} {given!r}{hint} (known: {listed})")


class InvalidVariant(StepbenchError):
    """A variant id or an axis value that does not parse."""


class NotQuantized(StepbenchError):
    """A quantization that left every layer as it was: its row would carry a name that it has no right to."""


class InvalidOption(StepbenchError):
    """A setting outside its allowed range."""


class DuplicateName(StepbenchError):
    """Two plug-ins that register one name; the message names both places."""

    def __init__(self, kind: str, name: str, first: str, second: str) -> None:
        super().__init__(
            f"{kind} {name!r} is registered twice: {first} and {second}. "
            "Rename one of them; a plug-in cannot replace a name that is taken"
        )


class PluginFailed(StepbenchError):
    """A plug-in that cannot be imported or whose `register` raises."""


class InvalidData(StepbenchError):
    """A `--data` source that is not an image set."""


class InvalidRepository(StepbenchError):
    """A repository, commit or import root that cannot be compared."""


class ResultsUnwritable(StepbenchError):
    """A results folder that cannot be written."""


class InvalidRecord(StepbenchError):
    """A stored line that is not a record of a known schema."""


class NothingMeasured(StepbenchError):
    """A selection that matches no variant, or a run that finished none."""

    exit_code = 4


class WorkerLost(StepbenchError):
    """A worker process that ended before it answered."""
