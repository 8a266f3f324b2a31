"""What is counted of a step, over commits: operations, syncs, FLOPs and bytes. A change of these is no noise."""

from __future__ import annotations

from suites.cases import BYTES, FLOPS, OPERATIONS, SYNCS, TIMEOUT_S, VARIANTS, VERSION, counted


class Counted:
    """A case of a metric that is counted; not collected itself, because it tracks nothing."""

    version, timeout = VERSION, TIMEOUT_S
    param_names = ("variant", "metric")

    def setup_cache(self) -> None:
        """Leaves nothing: with it, asv runs the cases of all classes below in one folder, where `counted` shares."""

    def setup(self, variant: str, metric: str) -> None:
        """Counts, because what a variant does not have is n/a here, and would be a failure in the benchmark."""
        counted(variant, metric)


class Operations(Counted):
    """Operations that each phase dispatches."""

    unit = "operations"
    params = (VARIANTS, OPERATIONS)

    def track_operations(self, variant: str, metric: str) -> float:
        """Returns the number of aten operations, views left out."""
        return counted(variant, metric)


class Syncs(Counted):
    """How often each phase reads a tensor's value."""

    unit = "syncs"
    params = (VARIANTS, SYNCS)

    def track_syncs(self, variant: str, metric: str) -> float:
        """Returns the number of reads of a tensor's value by the host."""
        return counted(variant, metric)


class Flops(Counted):
    """Floating point operations of each phase."""

    unit = "flop"
    params = (VARIANTS, FLOPS)

    def track_flops(self, variant: str, metric: str) -> float:
        """Returns the floating point operations of matrix products, convolutions and attention."""
        return counted(variant, metric)


class Bytes(Counted):
    """Memory: the optimizer's state, the peak inside a step, and what forward keeps for backward."""

    unit = "bytes"
    params = (VARIANTS, BYTES)

    def track_bytes(self, variant: str, metric: str) -> float:
        """Returns bytes."""
        return counted(variant, metric)
