"""What every form of a history says, apart from how it is drawn."""

from __future__ import annotations

import itertools
import math
import re
import shlex
import statistics
from collections.abc import Callable
from functools import partial
from typing import Literal

from bench.analyze.changepoint import FEWEST
from bench.analyze.series import Change, Group, History, Series
from bench.data.metric import METRICS
from bench.report import cells, units
from bench.report.comparison.words import percent
from bench.report.plain import cut, one_line, plural

ABSENT = "—"
BLOCKS = "▁▂▃▄▅▆▇█"
SPARKS = 32
# Characters of other tools' names and units that are shown.
LONGEST, LONGEST_UNIT = 120, 12
_WRITTEN: dict[str, Callable[[float], str]] = {
    "s": units.seconds,
    "B": units.size,
    "FLOP": partial(units.scaled, unit="FLOP"),
    "count": units.count,
    "nat": partial(units.significant, digits=4),
    "1": partial(units.significant, digits=4),
}


def heading(group: Group) -> list[str]:
    """Returns on which machine, with which versions and by which tool the series of a group were measured."""
    environment = group.environment
    by = "" if group.tool == "stepbench" else f"; measured by {group.tool}"
    # Another tool's file may not say how threads wait.
    waits = f"; OMP_WAIT_POLICY={environment.wait_policy}" * (not by or environment.wait_policy != "default")
    versions = f"torch {environment.torch}, Python {environment.python}{waits}{by}"
    return [one_line(cells.machine(environment)), one_line(versions)]


def title(history: History) -> str:
    """Returns the first line: how many changes there are, and the largest."""
    noisy = [(series, change) for series, change in history.changes if not change.exact]
    exact = len(history.changes) - len(noisy)
    facts = f"{plural(exact, 'change')} of exact metrics" if exact else ""
    leveled = [series for series in history.series if series.levels is not None]
    what = "times" if all(METRICS[series.metric].timed for series in leveled) else "noisy values"
    if not noisy:
        judged = sum(series.commits >= FEWEST for series in leveled)
        none = f"no change in {judged} series of {what}"
        short = len(leveled) - judged
        few = f"{short} more with fewer than {FEWEST} commits, too few to tell" if short else ""
        return one_line("; ".join(filter(None, (none, few, facts))))
    largest = sentence(*noisy[0])
    found = f"{len(noisy)} changes of {what}, the largest" if len(noisy) > 1 else "1 change"
    return one_line("; ".join(filter(None, (f"{found}: {largest}", facts))))


def name(series: Series) -> str:
    """Returns the name of a series' variant, cut where another tool's is very long."""
    return cut(series.name, LONGEST)


def sentence(series: Series, change: Change) -> str:
    """Returns what changed, by how much and where: `vit/eva/none optimize +10 % (+8.1 to +12 %) after ... by ...`."""
    where = f"after {change.before.commit[:10]}, by {change.after.commit[:10]}"
    if change.after != change.likely:
        where += f", most likely at {change.likely.commit[:10]}"
    return one_line(f"{name(series)} {series.metric}: {size(series, change)} {where}")


def size(series: Series, change: Change) -> str:
    """Returns the size of a change with its interval, or both values of an exact metric."""
    if change.exact:
        ends = change.before.value, change.after.value
        rounded = [value(series, end) for end in ends]
        # Where rounding hides the difference, digits show it.
        return " -> ".join(rounded if len(set(rounded)) > 1 else [f"{end:,.15g}" for end in ends])
    assert change.ratio is not None
    assert change.low is not None
    assert change.high is not None
    interval = f"{percent(change.low - 1).removesuffix(' %')} to {percent(change.high - 1)}"
    return f"{percent(change.ratio - 1)} ({interval})"


def worse(series: Series, change: Change) -> bool | None:
    """Says whether a change is for the worse, None where nobody knows which direction is better."""
    better = METRICS[series.metric].better
    if better is None:
        return None
    up = change.after.value > change.before.value if change.ratio is None else change.ratio > 1
    return up == (better == "lower")


def kind(series: Series, *changes: Change) -> Literal["worse", "better", ""]:
    """Returns what some changes of a series are together: worse if one is, else better; nothing where nobody knows."""
    found = {worse(series, change) for change in changes}
    return "worse" if True in found else "better" if False in found else ""


def measurable(series: Series) -> bool:
    """Says whether `stepbench compare` can measure a series' variant: one of ours, in one process."""
    return (series.origin is None or series.origin.own) and series.variant.ranks == 1


def confirm(series: Series, change: Change) -> str:
    """Returns the command that measures both ends of a change against each other, nothing where none can."""
    ends = [change.before.commit[:10], change.after.commit[:10]]
    if series.origin is not None and not series.origin.own:
        if series.origin.tool != "asv":
            return ""
        return shlex.join(["asv", "continuous", *ends, "--bench", "^" + re.escape(one_line(series.origin.benchmark))])
    if not measurable(series):
        return ""
    options = [*series.options]
    if series.variant.threads != 1:
        options += ["--threads", str(series.variant.threads)]
    if series.variant.device != "cpu":
        options += ["--device", series.variant.device]
    if series.origin is None and series.protocol.data != "digits":
        options += ["--data", series.protocol.data]
    if series.origin is None and series.protocol.seed != 0:
        options += ["--seed", str(series.protocol.seed)]
    return shlex.join(["stepbench", "compare", *options, *ends, str(series.variant)])


def by_command(history: History) -> dict[str, list[tuple[Series, Change]]]:
    """Returns the changes, those together that one command confirms, which measures all metrics; the largest first."""
    found: dict[str, list[tuple[Series, Change]]] = {}
    for series, change in history.changes:
        found.setdefault(one_line(confirm(series, change)), []).append((series, change))
    return found


def value(series: Series, number: float) -> str:
    """Returns a value with its unit."""
    metric = METRICS[series.metric]
    if series.baseline is not None:
        return f"{units.times(number)} of {one_line(series.baseline)}"
    if metric.name == "tracked":
        unit = cut((series.origin and series.origin.unit) or "", LONGEST_UNIT)
        return f"{number:,.6g} {unit}".strip()
    return _WRITTEN[metric.unit](number)


def figures(series: Series) -> tuple[str, str, str]:
    """Returns the newest value, the change since the oldest, and how much the series scatters about its levels."""
    first, last = series.points[0].value, series.points[-1].value
    since = percent(last / first - 1) if first > 0 and series.levels is not None else ""
    if series.levels is None:
        since = "" if first == last else f"was {value(series, first)}"
    noise = "exact" if METRICS[series.metric].noise == "exact" else ABSENT
    if series.levels is not None:
        noise = f"{100 * math.expm1(series.levels.noise):.1f} %"
    return value(series, last), since, noise


def spark(series: Series) -> str:
    """Returns a line of blocks: medians of as many stretches of the series as there is room for."""
    values = [math.log(max(point.value, 1e-12)) for point in series.points]
    wide = min(SPARKS, len(values))
    edges = [round(place * len(values) / wide) for place in range(wide + 1)]
    medians = [statistics.median(values[low:high]) for low, high in itertools.pairwise(edges)]
    low, high = min(medians), max(medians)
    # Noise of a tenth of a percent must not look like a mountain range.
    reach = max(high - low, 0.02)
    return "".join(BLOCKS[min(int((each - low) / reach * len(BLOCKS)), len(BLOCKS) - 1)] for each in medians)


def shown(series: Series) -> bool:
    """Says whether a series has a row: one of an exact metric that never changed does not."""
    return METRICS[series.metric].noise == "noisy" or bool(series.changes)


def notes(history: History) -> list[str]:
    """Returns what a reader must know, once each."""
    lines = [
        f"commits stand {history.ordered}",
        (
            "a change of what is noisy is one that fewer than 1 in 100 series without any show, also where noise "
            "lasts from one commit to the next; its size has a 95 % interval, and it is suspected only: the command "
            "confirms it, with all metrics of the variant"
        ),
        "noise: how much single values scatter about their level",
    ]
    unjudged = sum(one.levels is None and METRICS[one.metric].noise == "noisy" for one in history.series)
    if unjudged:
        lines.append(f"{unjudged} series with values of zero or below, in which no change is looked for")
    for reason, count in sorted(history.left_out.items()):
        lines.append(f"left out: {plural(count, 'record')} {reason}")
    return [one_line(line) for line in lines]
