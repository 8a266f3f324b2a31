"""Quality beside speed, over commits: a change that makes a step faster and training worse shows here."""

from __future__ import annotations

from suites.cases import QUALITY, VARIANTS, Case, samples


class Quality(Case):
    """The loss after a fixed number of steps from a fixed seed."""

    unit = "nat"
    params = (VARIANTS, QUALITY)

    def track_loss(self, variant: str, metric: str) -> float:
        """Returns the loss on a fixed batch."""
        return samples(variant, metric)[0]
