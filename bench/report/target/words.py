"""What tables of time to target say, apart from how they are drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.analyze.row import Mean
from bench.analyze.target import TargetRow, TargetTable
from bench.data.target import Training
from bench.report import cells, units
from bench.report.plain import one_line


def heading(table: TargetTable) -> list[str]:
    """Returns what stands above a table: hardware, versions, and how variants were trained."""
    environment, protocol = table.environment, table.protocol
    rates = ", ".join(f"{rate:g}" for rate in protocol.rates)
    seeds = _seeds(protocol.measured_with)
    commit = (environment.commit or "none")[:8] + "+dirty" * environment.dirty
    chosen = f"learning rates tried with {_seeds(protocol.tuned_with)}: {rates}; " if protocol.tuned_with else ""
    lines = [
        cells.machine(environment),
        (
            f"torch {environment.torch}, Python {environment.python}, stepbench {environment.stepbench}; "
            f"commit {commit}; {table.created}"
        ),
        (
            f"until {protocol.target} on the held-out part of {protocol.data}, looked at every {protocol.every} steps; "
            f"given up after {protocol.limit} steps"
        ),
        f"{chosen or f'learning rate {rates}; '}measured with {seeds}",
    ]
    return [one_line(line) for line in lines]


def heads(table: TargetTable) -> list[str]:
    """Returns the names of the columns."""
    ratios = [f"{what} vs {table.baseline.optimizer}" for what in ("steps", "time")] if table.baseline else []
    return ["variant", "learning rate", "reached", "steps", "time", "a step", *ratios]


def row(row: TargetRow, table: TargetTable) -> list[str]:
    """Returns the cells of a row, as many as there are heads."""
    own = row.variant == table.baseline
    ratios = ["1" if own else _ratio(found) for found in (row.step_ratio, row.second_ratio)] if table.baseline else []
    return [
        str(row.variant),
        cells.ABSENT if row.rate is None else f"{row.rate:g}",
        f"{row.reached} of {len(row.trainings)}",
        _mean(row.steps, lambda value: f"{value:.0f}"),
        _mean(row.seconds, units.seconds),
        _step(row),
        *ratios,
    ]


def notes(table: TargetTable) -> list[str]:
    """Returns what the figures mean, then what is to be known of single rows."""
    protocol = table.protocol
    lines = [
        (
            "steps and time: mean over seeds with its 95 % interval (Student's t); time is that of the steps alone. "
            "a step: their mean. A variant that was not there with every seed has no mean."
        )
    ]
    if table.baseline is not None:
        lines.append(
            f"vs {table.baseline.optimizer}: geometric mean of the ratios seed by seed, with its 95 % interval."
        )
    for found in table.rows:
        lines += [f"{found.variant}: {text}" for text in _of(found, protocol.limit)]
    return [one_line(line) for line in lines]


def rates(table: TargetTable) -> list[str]:
    """Returns for each variant what its learning rates gave, the chosen one last."""
    lines = []
    for found in table.rows:
        if found.trials:
            by_rate = {trial.rate: [each for each in found.trials if each.rate == trial.rate] for trial in found.trials}
            tried = ", ".join(f"{rate:g}: {_trials(trials, table)}" for rate, trials in by_rate.items())
            chosen = "nothing was chosen" if found.rate is None else f"{found.rate:g} was chosen"
            lines.append(one_line(f"{found.variant}: {tried}; {chosen}"))
    return lines


def _seeds(seeds: range) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def _trials(trials: Sequence[Training], table: TargetTable) -> str:
    """Returns what a rate gave with each seed."""
    return " and ".join(_trial(trial, table) for trial in trials)


def _trial(trial: Training, table: TargetTable) -> str:
    reached = trial.reached(table.protocol.target)
    if reached is not None:
        return f"{reached.steps} steps"
    if trial.failure:
        return "failed"
    return f"{trial.best:.1%} at best in {trial.checkpoints[-1].steps if trial.checkpoints else 0} steps"


def _of(row: TargetRow, limit: int) -> list[str]:
    lines = []
    if row.failure:
        lines.append(f"failed: {row.failure}")
    missed = [
        training.best
        for training, arrival in zip(row.trainings, row.arrivals, strict=True)
        if arrival is None and not training.failure
    ]
    if missed:
        best = ", ".join(f"{share:.1%}" for share in missed)
        lines.append(f"not reached in {limit} steps by {len(missed)} of {len(row.trainings)} seeds (best: {best})")
    if row.on_edge:
        lines.append(f"its best learning rate, {row.rate:g}, is at the end of the grid: one beyond may be better")
    return lines


def _step(row: TargetRow) -> str:
    last = [training.checkpoints[-1] for training in row.trainings if training.checkpoints]
    steps = sum(look.steps for look in last)
    return units.seconds(sum(look.seconds for look in last) / steps) if steps else cells.ABSENT


def _mean(mean: Mean | None, write: Callable[[float], str]) -> str:
    if mean is None:
        return cells.ABSENT
    return f"{write(mean.center)} {units.spread(mean.low, mean.center, mean.high)}"


def _ratio(mean: Mean | None) -> str:
    if mean is None:
        return cells.ABSENT
    if mean.low is None or mean.high is None:
        return units.times(mean.center)
    ends = f"{units.times(mean.low)}–{units.times(mean.high)}"  # noqa: RUF001 - a range has an en dash
    return f"{units.times(mean.center)} ({ends})"
