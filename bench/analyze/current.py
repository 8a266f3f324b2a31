"""Records that are still what their file says."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from bench.data.record import Record

# Tools that write on in the file of a commit and an environment: what it holds later has all that it held before.
GROWING = frozenset({"asv"})


def current(records: Sequence[Record]) -> list[Record]:
    """Returns records, oldest first, without those that were read again from a file that had grown since.

    Of two readings the one with the later measurement counts, of equally late ones that with more samples.
    """
    newest: dict[Hashable, Record] = {}
    for record in sorted(records, key=_age):
        newest[_place(record)] = record
    return sorted(newest.values(), key=lambda record: record.created)


def _place(record: Record) -> Hashable:
    """Returns what two readings of one file have in common; any other record stands for itself."""
    origin = record.origin
    if origin is None or origin.tool not in GROWING:
        return id(record)
    environment = record.environment
    return (
        origin.tool, environment.host, environment.commit, origin.environment, origin.file, record.measurement.variant
    )  # fmt: skip


def _age(record: Record) -> tuple[str, int]:
    replicates = record.measurement.replicates
    return record.created, sum(len(samples) for each in replicates for samples in each.samples.values())
