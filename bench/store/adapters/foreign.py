"""What the readers of other tools' files have in common: what they return, and what a benchmark is called."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.data.environment import Environment
from bench.data.measurement import Counters, Measurement, Replicate
from bench.data.metric import METRICS, PHASES, STEP
from bench.data.protocol import NO_PROTOCOL, Protocol
from bench.data.record import Record
from bench.data.variant import NONE, Variant
from bench.errors import InvalidVariant, StepbenchError, UnknownName

UNKNOWN = "unknown"
_TWICE = "another benchmark of the file has another value for the same metric of the same variant"
LONGEST_NAME = 48
# Of the digits of a file's SHA-256, those that name its run: so many that no run of ours has the same name.
RUN = 16
_COMMIT = re.compile(r"[0-9a-f]{7,64}\Z")
# No step of anything takes longer than this: a year, in seconds.
LONGEST_S = 3.2e7


@dataclass(frozen=True, kw_only=True)
class Side:
    """What a record has no place for, as it stands in the file, for the side file; `unmapped` says why there is none.

    `rounds` has for each sample the number of the round it was taken in, None where the file does not tell.
    """

    benchmark: str
    parameters: dict[str, str] = field(default_factory=dict)
    variant: str | None = None
    rounds: tuple[int, ...] | None = None
    rest: dict[str, Any]
    unmapped: str | None = None


@dataclass(frozen=True, kw_only=True)
class Ingested:
    """A file of another tool: its records, its side entries, and what belongs to the whole file.

    `environment` is what the file says of all that it holds.
    """

    tool: str
    file: str
    sha256: str
    run: str
    created: str
    environment: Environment
    records: tuple[Record, ...]
    sides: tuple[Side, ...]
    rest: dict[str, Any] = field(default_factory=dict)

    @property
    def unmapped(self) -> Counter[str]:
        """How many benchmarks became no record, by reason."""
        return Counter(side.unmapped for side in self.sides if side.unmapped is not None)


def mapping(value: Any) -> dict[str, Any]:
    """Returns a value of a file if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def commit(value: Any) -> str | None:
    """Returns the name of a commit, None for anything else."""
    return value if isinstance(value, str) and _COMMIT.match(value) else None


def protocol(tool: str) -> Protocol:
    """Returns the protocol of what another tool measured: its name."""
    return Protocol(version=NO_PROTOCOL, data=tool, workers=1, rounds=1, wait_policy="default")


def named(tool: str, name: str, identity: str) -> Variant:
    """Returns the variant that stands for a foreign benchmark: its name in our letters, and a mark of its identity."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:LONGEST_NAME].strip("-") or "benchmark"
    mark = hashlib.sha256(f"{tool}\0{identity}".encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return Variant(model=f"{slug}-{mark}", optimizer=NONE, quantization=NONE)


def own(texts: Sequence[Any], words: Sequence[Any]) -> tuple[Variant, str] | None:
    """Returns the variant and the metric of ours that a suite of this repository says it has measured, or None.

    Both must stand there in full, one of `texts` and one of `words`: a name that only looks like one is not enough.
    """
    metric = next((word for word in words if isinstance(word, str) and word in METRICS), None)
    for text in texts:
        if isinstance(text, str) and "/" in text and metric is not None:
            try:
                return Variant.parse(text), metric
            except (InvalidVariant, UnknownName):
                continue
    return None


def checked(samples: Sequence[Any]) -> tuple[float, ...]:
    """Returns samples as seconds; raises StepbenchError with the reason why they are none."""
    if not samples:
        raise StepbenchError("no sample")
    for sample in samples:
        if isinstance(sample, bool) or not isinstance(sample, (int, float)):
            raise StepbenchError("a time that is no number")
        if not math.isfinite(sample):
            raise StepbenchError("a time that is not finite")
        if not 0 <= sample < LONGEST_S:
            raise StepbenchError("a time below zero or above a year")
    return tuple(map(float, samples))


def replicate(worker: int, metric: str, samples: tuple[float, ...]) -> Replicate:
    """Returns one process's samples; what else belongs to a replicate the tools do not say."""
    return Replicate(
        worker=worker, round=worker, started=0.0, warmup_steps=0, settled=True, foreign_load=None,
        samples={metric: samples},
    )  # fmt: skip


def phases(measured: Sequence[str]) -> tuple[str, ...]:
    """Returns the phases among some metrics."""
    return tuple(phase for phase in PHASES if phase in measured)


def joined(found: Sequence[tuple[Record | None, Side]]) -> tuple[tuple[Record, ...], tuple[Side, ...]]:
    """Puts the metrics of one variant together that a tool measured one by one; the first origin stays.

    Each came from a process of its own, so that workers are numbered anew. A value that differs from one that is there
    already, and comes with no samples, is no part of the record; its side entry has it, and says so.
    """
    records: dict[Variant, Record] = {}
    sides = []
    for record, side in found:
        if record is not None:
            variant = record.measurement.variant
            before = records.get(variant, record)
            if not record.measurement.replicates and _differ(before, record):
                values = dict(record.measurement.counters.values)
                sides.append(replace(side, variant=None, rest=side.rest | {"values": values}, unmapped=_TWICE))
                continue
            records[variant] = record if before is record else _both(before, record)
        sides.append(side)
    return tuple(records.values()), tuple(sides)


def _differ(one: Record, other: Record) -> bool:
    """Says whether two records disagree on the value of a metric."""
    first, second = one.measurement.counters.values, other.measurement.counters.values
    return any(first[name] != value for name, value in second.items() if name in first)


def _both(one: Record, other: Record) -> Record:
    first, second = one.measurement, other.measurement
    workers = 1 + max((each.worker for each in first.replicates), default=-1)
    more = tuple(replace(each, worker=each.worker + workers) for each in second.replicates)
    measured = [name for each in (*first.replicates, *more) for name in each.samples]
    both = replace(
        first,
        phases=phases(measured),
        replicates=first.replicates + more,
        counters=Counters(values=second.counters.values | first.counters.values),
        failure=first.failure or second.failure,
    )
    # The latest that is in it tells a file that has grown from what it was.
    return replace(one, measurement=both, created=max(one.created, other.created))


def measurement(variant: Variant, tool: str, metric: str, samples: Sequence[tuple[float, ...]]) -> Measurement:
    """Returns what was timed of a variant, a process a tuple of samples."""
    return Measurement(
        variant=variant,
        protocol=protocol(tool),
        phases=phases([metric]) if metric != STEP else (),
        replicates=tuple(replicate(worker, metric, each) for worker, each in enumerate(samples)),
    )
