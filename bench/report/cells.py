"""What terminal and markdown tables say, apart from how they are drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from bench.analyze.row import Mean, Ratio, Row, Table
from bench.data.environment import Environment
from bench.data.metric import COMMUNICATE, METRICS, PHASES, PHASES_OF_RANKS
from bench.data.protocol import NO_PROTOCOL
from bench.data.variant import DEFAULTS, NONE
from bench.report import units
from bench.report.plain import cut, one_line, plural

ABSENT = "—"
# Characters of other tools' names that are shown.
LONGEST = 120
# What stands before the tool in the environment of a record that was read from one.
_NOT_OURS = "none, "
_FLOAT = (
    "vs float: step time as a multiple of the fastest float row's of the same model, optimizer, batch and threads, "
    "whatever its dtype, memory format and compilation; then of the plain float row's. Paired by worker and round."
)
_OPTIMIZER = (
    "vs {0}: step time as a multiple of the {0} row's, paired by worker and round; "
    f"{ABSENT} without such a row in the same run."
)
_ACCURACY = (
    "Acc@1: right answers of the deployed model on pictures it was not trained on, mean over seeds; points vs float: "
    "more than its float model, paired by seed; both with Student's t intervals over seeds. Measured in other runs, by "
    "`stepbench quantize`."
)
_RANKS = (
    "communicate: waiting for other ranks, from the last gradient of this one to the last average; messages and bytes "
    "are those that one rank gives. All times and counters are rank 0's."
)
_WRITTEN: dict[str, Callable[[float], str]] = {
    "s": units.seconds,
    "B": units.size,
    "FLOP": partial(units.scaled, unit="FLOP"),
    "count": units.count,
    "nat": partial(units.significant, digits=4),
    "1": units.share,
}
_EXACT = [name for name, metric in METRICS.items() if metric.noise == "exact"]
# Exact metrics of a whole step, those of its model, and what is counted in each of its phases.
EXACT = ("saved_bytes", "peak_bytes", "state_bytes", "loss")
FOREIGN = ("process_bytes", "object_bytes", "tracked")
COUNTED = tuple(dict.fromkeys(name.partition(".")[2] for name in _EXACT if name.partition(".")[0] in PHASES))


def heading(table: Table) -> list[str]:
    """Returns what stands above a table: hardware, versions, commits, protocol."""
    environment, protocol = table.environment, table.protocol
    reader = environment.stepbench.removeprefix(_NOT_OURS)
    by = reader if reader != environment.stepbench else f"stepbench {reader}"
    versions = f"torch {environment.torch}, Python {environment.python}, {by}"
    commits = ", ".join(_short(commit) for commit in table.commits)
    defaults = ", ".join(f"{axis}={str(value).lower()}" for axis, value in DEFAULTS.items())
    lines = [
        machine(environment),
        f"{versions}; commit {commits}; {table.created}",
        (
            f"measured by {protocol.data}, whose file does not tell its protocol"
            if _is_foreign(table)
            else f"protocol {protocol.version}: data {protocol.data}, seed {protocol.seed}, {protocol.budget_s:g} s a "
            f"variant, {protocol.workers} workers x {protocol.rounds} rounds, OMP_WAIT_POLICY={environment.wait_policy}"
        ),
        *([f"variants, unless they say otherwise: {defaults}"] * _has_own(table)),
    ]
    return [one_line(line) for line in lines]


def machine(environment: Environment) -> str:
    """Returns the hardware on one line; what another tool's file did not say is left out."""
    cores = f"{environment.cores} core{'s' if environment.cores != 1 else ''}" * bool(environment.cores)
    memory = units.size(environment.memory_bytes) * bool(environment.memory_bytes)
    hardware = ", ".join(filter(None, (environment.cpu, cores, memory, environment.gpu)))
    return f"{hardware} ({environment.host}, {environment.platform})".strip()


def legend(table: Table) -> list[str]:
    """Returns what the columns mean, below the table."""
    whole = "zero_grad and the phases, without waiting between them"
    lines = [
        (
            "times: median of replicate medians, ± half of its 95 % interval over workers (±?: too few to tell). "
            f"step: {' or '.join([whole] * _has_own(table) + ['a call of the benchmark'] * _is_foreign(table))}."
        )
    ]
    if _compares_floats(table):
        lines.append(_FLOAT)
    if _compares_optimizers(table):
        lines.append(_OPTIMIZER.format(one_line(table.baseline)))
    if _has_own(table):
        steps = "the suite's" if _is_foreign(table) else table.protocol.quality_steps
        lines.append(
            "saved: what forward keeps for backward. peak: highest memory inside a step. "
            f"loss: on a fixed batch after {steps} steps from the seed."
        )
    if data := _data(table):
        lines.append(_ACCURACY + (f" Data: {cut(data[0], LONGEST)}." if len(data) == 1 else ""))
    if COMMUNICATE in shown_phases(table):
        lines.append(_RANKS)
    return lines


def ratio_names(table: Table) -> list[str]:
    """Returns the names of the ratios that the rows of a table have."""
    return ["vs float"] * _compares_floats(table) + [f"vs {one_line(table.baseline)}"] * _compares_optimizers(table)


def ratios(row: Row, table: Table) -> list[tuple[str, ...]]:
    """Returns each of these ratios of a row, with what stands below it: its interval, and a second ratio."""
    found: list[tuple[str, ...]] = []
    if _compares_floats(table):
        found.append((_fastest_float(row, table), _interval(row.fastest_float), _plain_float(row)))
    if _compares_optimizers(table):
        found.append((_ratio(row, table.baseline), _interval(row.ratio)))
    return found


def _is_foreign(table: Table) -> bool:
    """Says whether another tool measured a table; its rows may be of our variants all the same."""
    return table.protocol.version == NO_PROTOCOL


def _has_own(table: Table) -> bool:
    return not _is_foreign(table) or any(row.origin is None or row.origin.own for row in table.rows)


def _benchmark(row: Row) -> list[str]:
    """Returns what another tool calls a row whose variant only stands for it."""
    return [] if row.origin is None or row.origin.own else [cut(str(row.origin), LONGEST)]


def _compares_floats(table: Table) -> bool:
    return any(row.fastest_float is not None for row in table.rows)


def _compares_optimizers(table: Table) -> bool:
    return any(row.variant.optimizer != NONE for row in table.rows)


def shown_phases(table: Table) -> tuple[str, ...]:
    """Returns the phases that any row has; what failed has none, unless all did."""
    rows = [row for row in table.rows if row.failure is None] or table.rows
    return tuple(phase for phase in PHASES_OF_RANKS if any(phase in row.phases for row in rows))


def time(row: Row, metric: str) -> str:
    """Returns the median of a metric, nothing for a phase that the variant does not have."""
    if metric in row.summaries:
        return units.seconds(row.summaries[metric].center)
    return "" if metric in PHASES_OF_RANKS and metric not in row.phases else ABSENT


def spread(row: Row, metric: str) -> str:
    """Returns half the interval's width in percent."""
    summary = row.summaries.get(metric)
    return "" if summary is None else units.spread(summary.low, summary.center, summary.high)


def quantized(row: Row) -> list[str]:
    """Returns what a quantization did to the model: layers, bytes, outputs; nothing for a float row."""
    values = row.counters.values
    if "eligible_layers" not in values:
        return []
    parts = [f"{exact(row, 'quantized_layers')} of {exact(row, 'eligible_layers')} layers quantized"]
    if "fused_layers" in values:
        parts.append(f"{exact(row, 'fused_layers')} fused by the compiler")
    parts.append(f"model {exact(row, 'model_bytes')}, {exact(row, 'integer_bytes')} of it integers")
    if "output_error" in values:
        parts.append(f"outputs differ by {exact(row, 'output_error')}")
    return parts


def accuracies(row: Row, table: Table) -> list[str]:
    """Returns what the deployed model gets right, and how that stands beside its float model."""
    several = len(_data(table)) > 1
    return [
        f"Acc@1 {100 * one.share.center:.2f} %{_between(one.share, '.1f', most=1)}, "
        f"{100 * one.difference.center:+.2f} points vs float{_between(one.difference, '+.1f')}, "
        + (f"QAT of {plural(one.accuracy.qat_epochs, 'epoch')}" if one.accuracy.qat_epochs else "after training")
        + f", {plural(len(one.accuracy.seeds), 'seed')}"
        + f", {cut(one.accuracy.data, LONGEST)}" * several
        for one in row.accuracies
    ]


def _between(found: Mean, form: str, most: float = math.inf) -> str:
    if found.low is None or found.high is None:
        return ""
    return f" ({100 * found.low:{form}} to {100 * min(found.high, most):{form}})"


def _data(table: Table) -> list[str]:
    """Returns the data that accuracies of a table are of."""
    return list(dict.fromkeys(one.accuracy.data for row in table.rows for one in row.accuracies))


def foreign(row: Row) -> list[str]:
    """Returns what another tool calls a benchmark, and what only such tools measure: `tracked 97`."""
    found = [(name, row.counters.values[name]) for name in FOREIGN if name in row.counters.values]
    return _benchmark(row) + [
        f"{name.replace('_bytes', ' memory')} {f'{value:,.6g}' if name == 'tracked' else units.size(value)}"
        for name, value in found
        if value is not None
    ]


def counted(row: Row, phase: str, counter: str) -> str:
    """Returns how many of something a phase takes, nothing where it was not counted."""
    name = f"{phase}.{counter}"
    value = row.counters.values.get(name)
    return "" if value is None else _WRITTEN[METRICS[name].unit](value)


def below(phase: str) -> tuple[str, str]:
    """Returns the two counters that stand below a phase's time: of the work done in it, or of what is sent."""
    return ("messages", "bytes") if phase == COMMUNICATE else ("operations", "syncs")


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
    if row.failure is None:
        return ""
    return ": ".join(["failed", *_benchmark(row), one_line(row.failure) or "no reason was given"])


def _short(commit: str) -> str:
    name, plus, dirty = commit.partition("+")
    return (name[:8] if " " not in name else name) + plus + dirty


def _ratio(row: Row, baseline: str) -> str:
    """Returns the ratio to the baseline; the baseline's own row is 1 by definition."""
    if row.ratio is not None:
        return units.times(row.ratio.center)
    return "1" if row.variant.optimizer == baseline and row.summaries else ABSENT


def _fastest_float(row: Row, table: Table) -> str:
    """Returns the ratio to the fastest float row; that row's own is 1 by definition."""
    if row.fastest_float is not None:
        return units.times(row.fastest_float.center)
    fastest = {other.fastest_float.baseline for other in table.rows if other.fastest_float is not None}
    return "1" if row.variant in fastest and row.summaries else ABSENT


def _plain_float(row: Row) -> str:
    """Returns the ratio to the plain float row, where that is not the fastest."""
    found, fastest = row.plain_float, row.fastest_float
    if found is None or (fastest is not None and fastest.baseline == found.baseline):
        return ""
    return f"{units.times(found.center)} of plain"


def _interval(found: Ratio | None) -> str:
    if found is None or found.low is None or found.high is None:
        return ""
    return f"{units.times(found.low)}–{units.times(found.high)}"  # noqa: RUF001 - a range has an en dash
