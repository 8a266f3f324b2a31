"""From records to tables: which rows may stand side by side, and what each shows."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from bench.analyze import quantized
from bench.analyze.accuracy import standings
from bench.analyze.caveats import derive
from bench.analyze.current import current
from bench.analyze.ratio import ratio
from bench.analyze.row import Ratio, Row, Table
from bench.analyze.sample import summarize
from bench.data.accuracy import Accuracy
from bench.data.measurement import Measurement
from bench.data.metric import METRICS, STEP
from bench.data.record import Record
from bench.data.variant import FLAVOR, NONE, Variant


def tables(records: Sequence[Record], baseline: str = "sgd", accuracies: Sequence[Accuracy] = ()) -> tuple[Table, ...]:
    """Returns a table for each machine, software environment and protocol that records come from.

    Of several records of one variant in one such group the newest counts; what was read again from a file that had
    grown since is no record any more. Rows stand by model,
    the baseline first. A ratio is formed to the baseline of the row's own run, also where a later run shows a newer
    baseline: pairs across runs share neither process nor minute. `accuracies` stand in the rows of their quantization.
    """
    groups: dict[Hashable, list[Record]] = {}
    for record in current(records):
        groups.setdefault(comparable(record), []).append(record)
    made = (_table(group, baseline) for group in groups.values())
    return tuple(replace(table, rows=tuple(_with(accuracies, row) for row in table.rows)) for table in made)


def comparable(record: Record) -> Hashable:
    """Returns everything that must agree before two rows may share a table, or two values a series.

    The commit may differ: it is shown. Threads may differ: they are an axis of the variant. The clock's measured
    resolution differs from start to start. How many replicates there are and how long they last changes what is known
    of a time, which its interval shows, and not the time. What another tool measured stands by itself, and so does each
    of that tool's environments.
    """
    environment = replace(record.environment, commit=None, dirty=False, threads=0, clock_resolution=0.0)
    protocol = record.measurement.protocol
    origin = record.origin and (record.origin.tool, record.origin.environment)
    return environment, replace(protocol, budget_s=1.0, workers=1, rounds=1), origin


def _with(accuracies: Sequence[Accuracy], row: Row) -> Row:
    return replace(row, accuracies=standings(row.variant, accuracies))


def _table(records: Sequence[Record], baseline: str) -> Table:
    newest = {record.measurement.variant: record for record in records}
    commits = dict.fromkeys(_commit(record) for record in newest.values())
    by_run = {(record.run, record.measurement.variant): record.measurement for record in records}
    last = records[-1]
    return Table(
        environment=last.environment,
        protocol=last.measurement.protocol,
        commits=tuple(commits),
        created=last.created,
        baseline=baseline,
        rows=tuple(_row(record, by_run, baseline) for record in _ordered(newest, baseline)),
    )


def _ordered(newest: dict[Variant, Record], baseline: str) -> list[Record]:
    """Returns records by model as first met, then by axes, the baseline's first and the others by name."""
    models = list(dict.fromkeys(variant.model for variant in newest))

    def place(record: Record) -> tuple[object, ...]:
        variant = record.measurement.variant
        axes = replace(variant, optimizer=NONE, quantization=NONE)
        return models.index(variant.model), axes, variant.optimizer != baseline, variant

    return sorted(newest.values(), key=place)


def _commit(record: Record) -> str:
    environment = record.environment
    return (environment.commit or "no commit") + ("+dirty" if environment.dirty else "")


def _row(record: Record, by_run: dict[tuple[str, Variant], Measurement], baseline: str) -> Row:
    measurement = record.measurement
    timed = [name for name, metric in METRICS.items() if metric.timed]
    summaries = {name: summarize(measurement.replicates, name) for name in timed}
    other = by_run.get((record.run, replace(measurement.variant, optimizer=baseline)))
    if other is not None and other.phases != measurement.phases:
        # A step of inference is no part of one that trains.
        other = None
    fastest, plain = _floats(measurement, [one for (run, _), one in by_run.items() if run == record.run])
    to_fastest = _ratio(measurement, fastest)
    return Row(
        variant=measurement.variant,
        phases=measurement.phases,
        summaries={name: summary for name, summary in summaries.items() if summary is not None},
        ratio=_ratio(measurement, other),
        fastest_float=to_fastest,
        plain_float=_ratio(measurement, plain),
        counters=measurement.counters,
        caveats=(*quantized.caveats(measurement, to_fastest, plain), *derive(record)),
        failure=measurement.failure,
        origin=record.origin,
    )


def _ratio(measurement: Measurement, other: Measurement | None) -> Ratio | None:
    return None if other is None or other is measurement else ratio(measurement, other, STEP)


def _floats(measurement: Measurement, run: Sequence[Measurement]) -> tuple[Measurement | None, Measurement | None]:
    """Returns the fastest float measurement of the same step in the same run, and the plain one; itself may be either.

    Who quantizes could as well have compiled the float model, or run it in bfloat16: a quantized step is as fast as it
    is beside the best of these.
    """
    plain = replace(measurement.variant, quantization=NONE, **FLAVOR)
    floats = {
        one.variant: summary.center
        for one in run
        if replace(one.variant, **FLAVOR) == plain and (summary := summarize(one.replicates, STEP)) is not None
    }
    by_variant = {one.variant: one for one in run}
    fastest = min(floats, key=floats.__getitem__, default=plain)
    return by_variant.get(fastest), by_variant.get(plain)
