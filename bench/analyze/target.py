"""From trainings to steps and seconds to a target: means over seeds, and ratios paired by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from bench.analyze.row import Mean
from bench.analyze.seeds import mean
from bench.data.environment import Environment
from bench.data.target import Checkpoint, TargetProtocol, TargetRecord, Training
from bench.data.variant import NONE, Variant


@dataclass(frozen=True, kw_only=True)
class TargetRow:
    """One variant: what its learning rates gave, and how long it took at the best one.

    `trials` are the trainings that the rate was chosen by, `trainings` those that are measured, one a seed. The
    means and ratios are those of seeds that were all at the target; where one was not they are None: training that
    was given up has no number of steps. `step_ratio` and `second_ratio` are geometric means of ratios to the
    baseline's training of the same seed. `on_edge` says that the rate is the lowest or highest of several.
    """

    variant: Variant
    rate: float | None
    on_edge: bool
    trials: tuple[Training, ...]
    trainings: tuple[Training, ...]
    arrivals: tuple[Checkpoint | None, ...]
    steps: Mean | None
    seconds: Mean | None
    step_ratio: Mean | None
    second_ratio: Mean | None
    failure: str | None

    @property
    def reached(self) -> int:
        """Number of seeds that were at the target."""
        return sum(arrival is not None for arrival in self.arrivals)


@dataclass(frozen=True, kw_only=True)
class TargetTable:
    """The variants of one run that solve one problem; ratios are to the variant `baseline`, if there is one."""

    run: str
    created: str
    environment: Environment
    protocol: TargetProtocol
    problem: Variant
    baseline: Variant | None
    rows: tuple[TargetRow, ...]


def tables(records: Sequence[TargetRecord], *, baseline: str) -> list[TargetTable]:
    """Returns a table for each run and problem, with ratios to the variant whose optimizer is the `baseline`."""
    groups: dict[tuple[str, Variant], list[TargetRecord]] = {}
    for record in records:
        problem = replace(record.training.variant, optimizer=NONE, quantization=NONE)
        groups.setdefault((record.run, problem), []).append(record)
    return [_table(problem, group, baseline) for (_, problem), group in groups.items()]


def _table(problem: Variant, records: Sequence[TargetRecord], baseline: str) -> TargetTable:
    first = records[0]
    by_variant: dict[Variant, list[Training]] = {}
    for record in records:
        by_variant.setdefault(record.training.variant, []).append(record.training)
    against = replace(problem, optimizer=baseline)
    rows = [_row(variant, found, first.protocol) for variant, found in by_variant.items()]
    base = next((row for row in rows if row.variant == against), None)
    return TargetTable(
        run=first.run,
        created=first.created,
        environment=first.environment,
        protocol=first.protocol,
        problem=problem,
        baseline=None if base is None else against,
        rows=tuple(rows if base is None else (_against(row, base) for row in rows)),
    )


def _row(variant: Variant, found: Iterable[Training], protocol: TargetProtocol) -> TargetRow:
    trials = tuple(training for training in found if training.tuning)
    measured = tuple(training for training in found if not training.tuning)
    arrivals = tuple(training.reached(protocol.target) for training in measured)
    there = [arrival for arrival in arrivals if arrival is not None]
    whole = bool(arrivals) and len(there) == len(arrivals)
    rate = measured[0].rate if measured else None
    return TargetRow(
        variant=variant,
        rate=rate,
        on_edge=len(protocol.rates) > 1 and rate in {min(protocol.rates), max(protocol.rates)},
        trials=trials,
        trainings=measured,
        arrivals=arrivals,
        steps=mean([arrival.steps for arrival in there]) if whole else None,
        seconds=mean([arrival.seconds for arrival in there]) if whole else None,
        step_ratio=None,
        second_ratio=None,
        failure=next((training.failure for training in (*measured, *trials) if training.failure), None),
    )


def _against(row: TargetRow, base: TargetRow) -> TargetRow:
    """Adds the ratios to a baseline: of the seeds that both have, all of which must be at the target."""
    theirs = {training.seed: arrival for training, arrival in zip(base.trainings, base.arrivals, strict=True)}
    pairs = [
        (arrival, theirs[training.seed])
        for training, arrival in zip(row.trainings, row.arrivals, strict=True)
        if training.seed in theirs
    ]
    both = [(ours, other) for ours, other in pairs if ours is not None and other is not None]
    if not pairs or len(both) < len(pairs):
        return row
    return replace(
        row,
        step_ratio=_ratio([(ours.steps, other.steps) for ours, other in both]),
        second_ratio=_ratio([(ours.seconds, other.seconds) for ours, other in both]),
    )


def _ratio(pairs: Sequence[tuple[float, float]]) -> Mean | None:
    if any(min(pair) <= 0 for pair in pairs):
        return None
    found = mean([math.log(ours / other) for ours, other in pairs])
    low, high = (None if end is None else math.exp(end) for end in (found.low, found.high))
    return Mean(center=math.exp(found.center), low=low, high=high)
