"""How long each phase takes, over commits: our clock measures, and asv stores the samples and compares them.

A benchmark that tracks a value of type `time` and returns samples is stored as a timing; each case is a process.
"""

from __future__ import annotations

from typing import Any

import bench
from suites.cases import PHASES, TIMEOUT_S, VARIANTS, VERSION, require

TRAINED = frozenset({"backward", "optimize"})


class Times:
    """Wall time of the phases, and of the plain step, which nothing waits inside of."""

    type, unit = "time", "seconds"
    version, timeout = VERSION, TIMEOUT_S
    params = (VARIANTS, (*PHASES, "step"))
    param_names = ("variant", "phase")

    def setup(self, variant: str, phase: str) -> None:
        """Makes what is not available n/a: in the benchmark itself the same exception would be a failure."""
        require(variant)
        if phase in TRAINED and variant.split("/")[1] == "none":
            raise NotImplementedError(f"{variant} does not train: it has no {phase}")

    def track_phase(self, variant: str, phase: str) -> dict[str, Any]:
        """Returns the samples of one replicate in seconds, each of a single step."""
        return {"samples": bench.sample(variant, phase), "number": 1}
