"""What asv's suites have in common: their variants, when one is not available, and all that is counted of one.

Nothing here has a name by which asv collects: time_*, track_*, mem_*, peakmem_*, setup, params, timeout, version. The
suites of today measure the packages of all commits, so that of `bench` they call `sample` and `supports` only.
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
# The slowest variant is counted in 10 s; other machines, and commits before counting was done once, may take longer.
TIMEOUT_S = 600.0

PHASES = ("forward", "backward", "optimize")
OPERATIONS, SYNCS, FLOPS = (tuple(f"{phase}.{what}" for phase in PHASES) for what in ("operations", "syncs", "flops"))
BYTES = ("state_bytes", "peak_bytes", "saved_bytes")
QUALITY = ("loss",)
COUNTED = (*OPERATIONS, *SYNCS, *FLOPS, *BYTES, *QUALITY)


def require(variant: str) -> None:
    """Raises NotImplementedError, which asv shows as n/a, for a variant that the installed version does not measure."""
    if not bench.supports(variant, PROTOCOL):
        raise NotImplementedError(f"the installed version does not measure {variant} under {VERSION}")


def counted(variant: str, metric: str) -> float:
    """Returns what is counted, once; raises NotImplementedError where the variant or the version has no such metric.

    asv runs each case in a process of its own, and all cases of one `setup_cache` in the same folder: the first case of
    a variant counts everything, and leaves it there for the others.
    """
    require(variant)
    left = Path(f"{variant.replace('/', '--')}.json")
    if not left.is_file():
        left.write_text(json.dumps({name: _sample(variant, name) for name in COUNTED}), encoding="utf-8")
    values = json.loads(left.read_text(encoding="utf-8"))[metric]
    if not values:
        raise NotImplementedError(f"{variant} has no {metric}")
    return float(values[0])


def _sample(variant: str, metric: str) -> list[float]:
    try:
        return bench.sample(variant, metric)
    except UnknownName as error:
        if error.kind != "metric":
            raise
        return []
