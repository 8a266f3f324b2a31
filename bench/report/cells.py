"""What terminal and markdown tables say, apart from how they are drawn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.analyze.row import Row, Table
from bench.data.metric import METRICS, PHASES
from bench.data.variant import DEFAULTS
from bench.report import units
from bench.report.plain import one_line

ABSENT = "—"
_WRITTEN: dict[str, Callable[[float], str]] = {
    "s": units.seconds,
    "B": units.size,
    "FLOP": partial(units.scaled, unit="FLOP"),
    "count": units.count,
    "nat": partial(units.significant, digits=4),
}
_EXACT = [name for name, metric in METRICS.items() if metric.noise == "exact"]
# Exact metrics of a whole step, and what is counted in each of its phases.
EXACT = tuple(name for name in _EXACT if "." not in name)
COUNTED = tuple(dict.fromkeys(name.partition(".")[2] for name in _EXACT if "." in name))


def heading(table: Table) -> list[str]:
    """Returns what stands above a table: hardware, versions, commits, protocol."""
    environment, protocol = table.environment, table.protocol
    cores = f"{environment.cores} core{'s' if environment.cores != 1 else ''}"
    machine = [environment.cpu, cores, units.size(environment.memory_bytes)]
    if environment.gpu:
        machine.append(environment.gpu)
    versions = f"torch {environment.torch}, Python {environment.python}, stepbench {environment.stepbench}"
    commits = ", ".join(_short(commit) for commit in table.commits)
    defaults = ", ".join(f"{axis}={str(value).lower()}" for axis, value in DEFAULTS.items())
    lines = [
        f"{', '.join(machine)} ({environment.host}, {environment.platform})",
        f"{versions}; commit {commits}; {table.created}",
        (
            f"protocol {protocol.version}: data {protocol.data}, seed {protocol.seed}, {protocol.budget_s:g} s a "
            f"variant, {protocol.workers} workers x {protocol.rounds} rounds, OMP_WAIT_POLICY={environment.wait_policy}"
        ),
        f"variants, unless they say otherwise: {defaults}",
    ]
    return [one_line(line) for line in lines]


def legend(table: Table) -> list[str]:
    """Returns what the columns mean, below the table."""
    baseline = one_line(table.baseline)
    return [
        (
            "times: median of replicate medians, ± half of its 95 % interval over workers (±?: too few to tell). "
            "step: zero_grad and the phases, without waiting between them."
        ),
        (
            f"vs {baseline}: step time as a multiple of the {baseline} row's, paired by worker and round; "
            f"{ABSENT} without such a row in the same run."
        ),
        (
            "saved: what forward keeps for backward. peak: highest memory inside a step. "
            f"loss: on a fixed batch after {table.protocol.quality_steps} steps from the seed."
        ),
    ]


def time(row: Row, metric: str) -> str:
    """Returns the median of a metric, nothing for a phase that the variant does not have."""
    if metric in row.summaries:
        return units.seconds(row.summaries[metric].center)
    return "" if metric in PHASES and metric not in row.phases else ABSENT


def spread(row: Row, metric: str) -> str:
    """Returns half the interval's width in percent."""
    summary = row.summaries.get(metric)
    return "" if summary is None else units.spread(summary.low, summary.center, summary.high)


def ratio(row: Row, baseline: str) -> str:
    """Returns the ratio to the baseline; the baseline's own row is 1 by definition."""
    if row.ratio is not None:
        return units.times(row.ratio.center)
    return "1" if row.variant.optimizer == baseline and row.summaries else ABSENT


def ratio_interval(row: Row) -> str:
    """Returns the interval of the ratio."""
    if row.ratio is None or row.ratio.low is None or row.ratio.high is None:
        return ""
    return f"{units.times(row.ratio.low)}–{units.times(row.ratio.high)}"  # noqa: RUF001 - a range has an en dash


def counted(row: Row, phase: str, counter: str) -> str:
    """Returns how many of something a phase takes, nothing where it was not counted."""
    name = f"{phase}.{counter}"
    value = row.counters.values.get(name)
    return "" if value is None else _WRITTEN[METRICS[name].unit](value)


def exact(row: Row, metric: str) -> str:
    """Returns an exact metric of the whole step; one that is not finite is stored as null and shown so."""
    if metric not in row.counters.values:
        return ""
    value = row.counters.values[metric]
    return "not finite" if value is None else _WRITTEN[METRICS[metric].unit](value)


def state_parts(row: Row) -> list[str]:
    """Returns the parts of the optimizer's state where it has several: `momentum 29.7 MB`."""
    sizes = {part: size for part, size in row.counters.state_bytes.items() if size}
    return [f"{one_line(part)} {units.size(size)}" for part, size in sizes.items()] if len(sizes) > 1 else []


def failure(row: Row) -> str:
    """Returns why a row has no figures, nothing for one that has."""
    return "" if row.failure is None else f"failed: {one_line(row.failure) or 'no reason was given'}"


def _short(commit: str) -> str:
    name, plus, dirty = commit.partition("+")
    return (name[:8] if " " not in name else name) + plus + dirty
