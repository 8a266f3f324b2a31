"""The protocol: how a variant is measured; two results may be compared only when theirs agree."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import InvalidOption

# History (raise the number when the same code would give other numbers):
#   1  first protocol: interleaved rounds over worker processes, phased and plain steps alternating
PROTOCOL_VERSION = 1
# A protocol of another tool, which it does not tell in full, has no version of ours.
NO_PROTOCOL = 0
# Shared and virtual machines change their speed over tens of seconds: an interval from less than half a minute knows
# one of the speeds only, and the next run may fall outside of it.
LEAST_RUN_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How replicates are taken.

    `budget_s` is the measuring time of one variant in seconds, warm-up and rebuilding included, shared equally by
    `workers * rounds` replicates; one whose rebuilding takes more than half of its share lasts longer, and a variant
    for which that adds up to several budgets has fewer of them (bench.run.schedule). Raises InvalidOption for values
    out of range.
    """

    version: int = PROTOCOL_VERSION
    data: str = "digits"
    seed: int = 0
    budget_s: float = 6.0
    workers: int = 5
    rounds: int = 2
    wait_policy: str = "passive"
    quality_steps: int = 10

    def __post_init__(self) -> None:
        if not 0 < self.budget_s < 1e6:
            raise InvalidOption(f"budget {self.budget_s} s: must be a positive number of seconds")
        for name in ("workers", "rounds", "quality_steps"):
            if getattr(self, name) < 1:
                raise InvalidOption(f"{name} {getattr(self, name)}: must be 1 or more")

    @property
    def replicates(self) -> int:
        """Number of replicates of one variant."""
        return self.workers * self.rounds

    @property
    def replicate_s(self) -> float:
        """Measuring time of one replicate, in seconds."""
        return self.budget_s / self.replicates


def default_budget_s(variants: int) -> float:
    """Returns the measuring time of each of so many variants that makes the run long enough to be believed."""
    return max(Protocol.budget_s, LEAST_RUN_S / max(variants, 1))
