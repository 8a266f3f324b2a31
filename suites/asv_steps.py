"""How long each phase takes, over commits: our clock measures, and asv stores the samples and compares them."""

from __future__ import annotations

from typing import Any

from suites.cases import TIMES, VARIANTS, Case, samples


class Times(Case):
    """Wall time of the phases, and of the plain step, inside of which nothing is waited for.

    What tracks a value of type `time`, and returns samples, is stored as a timing.
    """

    type, unit = "time", "seconds"
    params = (VARIANTS, TIMES)
    param_names = ("variant", "phase")

    def track_phase(self, variant: str, phase: str) -> dict[str, Any]:
        """Returns the samples of one replicate in seconds, each of a single step."""
        return {"samples": samples(variant, phase), "number": 1}
