"""What is counted of a step, over commits: operations, syncs, FLOPs and bytes. A change of these is no noise."""

from __future__ import annotations

from suites.cases import BYTES, FLOPS, OPERATIONS, SYNCS, VARIANTS, Case, samples


class Operations(Case):
    """Operations that each phase dispatches."""

    unit = "operations"
    params = (VARIANTS, OPERATIONS)

    def track_operations(self, variant: str, metric: str) -> float:
        """Returns the number of aten operations, views left out."""
        return samples(variant, metric)[0]


class Syncs(Case):
    """How often each phase reads a tensor's value."""

    unit = "syncs"
    params = (VARIANTS, SYNCS)

    def track_syncs(self, variant: str, metric: str) -> float:
        """Returns the number of reads of a tensor's value by the host."""
        return samples(variant, metric)[0]


class Flops(Case):
    """Floating point operations of each phase."""

    unit = "flop"
    params = (VARIANTS, FLOPS)

    def track_flops(self, variant: str, metric: str) -> float:
        """Returns the floating point operations of matrix products, convolutions and attention."""
        return samples(variant, metric)[0]


class Bytes(Case):
    """Memory: the optimizer's state, the peak inside a step, and what forward keeps for backward."""

    unit = "bytes"
    params = (VARIANTS, BYTES)

    def track_bytes(self, variant: str, metric: str) -> float:
        """Returns bytes."""
        return samples(variant, metric)[0]
