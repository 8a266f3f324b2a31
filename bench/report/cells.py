"""What terminal and markdown tables say, apart from how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence

from bench.analyze.row import Row, Table
from bench.data.measurement import Caveat
from bench.data.metric import PHASES
from bench.report import units


def heading(table: Table) -> list[str]:
    """Returns what stands above a table: hardware, versions, commits, protocol."""
    environment, protocol = table.environment, table.protocol
    machine = [environment.cpu, f"{environment.cores} cores", units.size(environment.memory_bytes)]
    if environment.gpu:
        machine.append(environment.gpu)
    versions = f"torch {environment.torch}, Python {environment.python}, stepbench {environment.stepbench}"
    commits = ", ".join(_short(commit) for commit in table.commits)
    return [
        f"{', '.join(machine)} ({environment.host}, {environment.platform})",
        f"{versions}; commit {commits}; {table.created}",
        (
            f"protocol {protocol.version}: data {protocol.data}, seed {protocol.seed}, {protocol.budget_s:g} s a "
            f"variant, {protocol.workers} workers x {protocol.rounds} rounds, OMP_WAIT_POLICY={environment.wait_policy}"
        ),
        "times: median of replicate medians, 95 % interval over workers",
    ]


def legend(table: Table) -> list[str]:
    """Returns what the columns mean, below the table."""
    return [
        f"vs {table.baseline}: step time as a multiple of the {table.baseline} row's, paired by worker and round.",
        (
            f"loss: on a fixed batch after {table.protocol.quality_steps} steps from the seed. step: zero_grad and the "
            "three phases, without waiting between them."
        ),
    ]


def footnotes(rows: Sequence[Row]) -> tuple[list[Caveat], dict[int, str]]:
    """Returns each different caveat once, in order, and the marks of each row by its index: `[1,3]`."""
    notes: dict[Caveat, int] = {}
    marks: dict[int, str] = {}
    for index, row in enumerate(rows):
        numbers = [notes.setdefault(caveat, len(notes) + 1) for caveat in row.caveats]
        if numbers:
            marks[index] = f"[{','.join(map(str, sorted(set(numbers))))}]"
    return list(notes), marks


def label(row: Row) -> str:
    """Returns a variant's id without its model, under whose heading it stands."""
    return str(row.variant).partition("/")[2]


def time(row: Row, metric: str) -> str:
    """Returns the median of a metric."""
    summary = row.summaries.get(metric)
    return units.seconds(None if summary is None else summary.center)


def spread(row: Row, metric: str) -> str:
    """Returns half the interval's width in percent."""
    summary = row.summaries.get(metric)
    return "" if summary is None else units.spread(summary.low, summary.center, summary.high)


def ratio(row: Row, baseline: str) -> str:
    """Returns the ratio to the baseline; the baseline's own row is 1 by definition."""
    if row.variant.optimizer == baseline and row.summaries:
        return "1"
    return "—" if row.ratio is None else units.times(row.ratio.center)


def ratio_interval(row: Row) -> str:
    """Returns the interval of the ratio."""
    if row.ratio is None or row.ratio.low is None or row.ratio.high is None:
        return ""
    return f"{units.times(row.ratio.low)}..{units.times(row.ratio.high)}"


def operations(row: Row, phase: str) -> str:
    """Returns a phase's operations, and its syncs where there are any: `117 ops`, `794 ops, 100 syncs`."""
    values = row.counters.values
    if values.get(f"{phase}.operations") is None:
        return ""
    text = f"{units.count(values[f'{phase}.operations'])} ops"
    syncs = values.get(f"{phase}.syncs")
    return f"{text}, {units.count(syncs)} syncs" if syncs else text


def flops(row: Row) -> str:
    """Returns the FLOPs of all phases: forward/backward/optimize."""
    values = [row.counters.values.get(f"{phase}.flops") for phase in PHASES if phase in row.phases]
    if all(value is None for value in values):
        return ""
    return " / ".join(units.scaled(value, "FLOP") for value in values)


def state(row: Row) -> str:
    """Returns the total of the optimizer's state."""
    return units.size(row.counters.values.get("state_bytes"))


def state_parts(row: Row) -> list[str]:
    """Returns the parts of the optimizer's state that are not empty: `momentum 29.7 MB`."""
    return [f"{part} {units.size(size)}" for part, size in row.counters.state_bytes.items() if size]


def loss(row: Row) -> str:
    """Returns the quality figure; one that is not finite is stored as null and shown so."""
    if "loss" not in row.counters.values:
        return "—"
    value = row.counters.values["loss"]
    return "not finite" if value is None else units.significant(value, 4)


def _short(commit: str) -> str:
    name, plus, dirty = commit.partition("+")
    return (name[:8] if " " not in name else name) + plus + dirty
