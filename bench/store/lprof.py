"""A profile in the file format of line_profiler, for `python -m line_profiler`.

It is a pickle. It is written for the tools that take nothing else, and never read: a pickle of a stranger runs code.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence

from line_profiler.line_profiler import LineStats

from bench.data.profile import Profile

UNIT = 1e-9


def encode(profiles: Sequence[Profile]) -> bytes:
    """Returns the lines of the first profile; file names are as there, relative to where it was taken."""
    timings = {
        (function.file, function.first, function.name): [
            (line.number, line.hits, round(sum(map(sum, line.seconds)) / UNIT)) for line in function.lines if line.hits
        ]
        for function in profiles[0].functions
    }
    return pickle.dumps(LineStats(timings, UNIT))
