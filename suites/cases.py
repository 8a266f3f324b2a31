"""What asv's suites have in common: their variants, when one is not available, and how its cases share a measurement.

Nothing here has a name by which asv collects: time_*, track_*, mem_*, peakmem_*, and in modules setup, params, timeout,
version. The suites of today measure the packages of all commits, so that of `bench` they call `sample` and `supports`.
"""

from __future__ import annotations

import json
from pathlib import Path

import bench
from bench.errors import UnknownName
from suites.catalog import SETS

VARIANTS = SETS["history"]
# The protocol that these suites ask for. Another version string voids the results that asv has, and no other edit does.
PROTOCOL = 1
VERSION = f"protocol {PROTOCOL}"

PHASES = ("forward", "backward", "optimize")
TIMES = (*PHASES, "step")
OPERATIONS, SYNCS, FLOPS = (tuple(f"{phase}.{what}" for phase in PHASES) for what in ("operations", "syncs", "flops"))
BYTES = ("state_bytes", "peak_bytes", "saved_bytes")
QUALITY = ("loss",)
COUNTED = (*OPERATIONS, *SYNCS, *FLOPS, *BYTES, *QUALITY)


class Case:
    """A case of asv's: one metric of one variant. It tracks nothing, so that asv does not collect it."""

    version = VERSION
    # The slowest variant is counted in 10 s; other machines, and commits that count once a metric, take longer.
    timeout = 600.0
    param_names: tuple[str, ...] = ("variant", "metric")

    def setup_cache(self) -> None:
        """Leaves nothing: with it, asv runs the cases of all classes that have it from here in one folder."""

    def setup(self, variant: str, metric: str) -> None:
        """Measures, because what a variant does not have is n/a here, and would be a failure in the benchmark."""
        samples(variant, metric)


def samples(variant: str, metric: str) -> list[float]:
    """Returns samples in SI units; raises NotImplementedError where the variant or the version has no such metric.

    asv runs each case in a process of its own, of which four seconds are imports. So the first case of a variant that
    asks for a time takes all its times, the first that asks for another metric takes the others, and leaves them in
    the folder.
    """
    if not bench.supports(variant, PROTOCOL):
        raise NotImplementedError(f"the installed version does not measure {variant} under {VERSION}")
    together = TIMES if metric in TIMES else COUNTED
    left = Path(f"{variant.replace('/', '--')}.{together[0]}.json")
    if not left.is_file():
        left.write_text(json.dumps({name: _sample(variant, name) for name in together}), encoding="utf-8")
    found: list[float] = json.loads(left.read_text(encoding="utf-8"))[metric]
    if not found:
        raise NotImplementedError(f"{variant} has no {metric}")
    return found


def _sample(variant: str, metric: str) -> list[float]:
    try:
        return bench.sample(variant, metric)
    except UnknownName as error:
        if error.kind != "metric":
            raise
        return []
