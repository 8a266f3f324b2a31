"""From duets to a judged comparison: a verdict for the step and each phase of each variant, and exact differences."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.analyze import sequential
from bench.analyze.multiplicity import holm
from bench.analyze.verdict import Rule, Verdict, Word, judge
from bench.data.duet import SIDES, Duet, DuetReplicate, DuetRun, SideName
from bench.data.measurement import Caveat, Counters
from bench.data.metric import STEP

# The step is what people ask for first, the phases where to look: half of alpha is for steps, half for phases.
STEP_SHARE = 0.5
LEAST_FOR_ORDER = 8


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One row: the step or a phase of a variant, with the median seconds of both sides."""

    metric: str
    verdict: Verdict
    seconds: dict[SideName, float]


@dataclass(frozen=True, kw_only=True)
class Fact:
    """An exact metric that differs."""

    metric: str
    base: float | None
    head: float | None


@dataclass(frozen=True, kw_only=True)
class ComparedVariant:
    """A duet and what may be said of it; `order` is the ratio of second place to first, which should be 1."""

    duet: Duet
    rows: tuple[Judged, ...]
    facts: tuple[Fact, ...]
    order: tuple[float, float, float] | None
    caveats: tuple[Caveat, ...]

    @property
    def step(self) -> Judged | None:
        """The row of the whole step."""
        return next((row for row in self.rows if row.metric == STEP), None)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole comparison, judged."""

    run: DuetRun
    rule: Rule
    variants: tuple[ComparedVariant, ...]


def log_ratios(replicates: Sequence[DuetReplicate], metric: str) -> list[float]:
    """Returns for each replicate the median of the logarithms of head over base, pair by pair."""
    return [
        statistics.median(
            math.log(max(head, 1e-9)) - math.log(max(base, 1e-9))
            for base, head in zip(replicate.samples["base"][metric], replicate.samples["head"][metric], strict=True)
        )
        for replicate in replicates
        if replicate.samples["base"].get(metric) and replicate.samples["head"].get(metric)
    ]


def share(rule: Rule, metric: str, phases: int, variants: int) -> float:
    """Returns the part of a report's alpha that one row gets."""
    return rule.alpha / variants * (STEP_SHARE if metric == STEP else (1 - STEP_SHARE) / phases)


def decided(duet: Duet, rule: Rule, variants: int) -> bool:
    """Says whether a verdict stands for the step and for every phase, or for a changed step and what changed it.

    A step that is slower with a phase that is slower is an answer; the phases that are not sure yet would keep it
    waiting for what nobody asked.
    """
    words: list[Word] = []
    for metric in (STEP, *duet.phases):
        ratios = log_ratios(duet.replicates, metric)
        if not ratios:
            return False
        words.append(judge(ratios, rule, share(rule, metric, len(duet.phases), variants)).word)
        if words[0] == "inconclusive":
            return False
    return "inconclusive" not in words or (words[0] in {"slower", "faster"} and words[0] in words[1:])


def decided_on(duet: Duet, metric: str, rule: Rule, variants: int) -> bool:
    """Says whether a verdict stands for one row, whatever the others."""
    ratios = log_ratios(duet.replicates, metric)
    return bool(ratios) and judge(ratios, rule, share(rule, metric, len(duet.phases), variants)).stands


def report(run: DuetRun, duets: Sequence[Duet], rule: Rule, variants: int) -> Report:
    """Judges all rows of a comparison together; `variants` is how many were to be compared."""
    ratios = {
        (duet.variant, metric): found
        for duet in duets
        for metric in (STEP, *duet.phases)
        if (found := log_ratios(duet.replicates, metric))
    }
    phases = {duet.variant: len(duet.phases) for duet in duets}
    shares = {key: share(rule, key[1], phases[key[0]], variants) for key in ratios}
    changed = holm({key: sequential.log_capital(found) for key, found in ratios.items()}, shares, sum(shares.values()))
    judged = []
    for duet in duets:
        rows = tuple(
            Judged(
                metric=metric,
                verdict=judge(ratios[key], rule, shares[key], changed=key in changed),
                seconds={side: _seconds(duet.replicates, side, metric) for side in SIDES},
            )
            for metric in (STEP, *duet.phases)
            if (key := (duet.variant, metric)) in ratios
        )
        order = _order(duet.replicates)
        judged.append(
            ComparedVariant(
                duet=duet, rows=rows, facts=_facts(duet), order=order, caveats=(*duet.caveats, *_caveats(duet, order))
            )
        )
    return Report(run=run, rule=rule, variants=tuple(judged))


def _seconds(replicates: Sequence[DuetReplicate], side: SideName, metric: str) -> float:
    return statistics.median(
        statistics.median(replicate.samples[side][metric])
        for replicate in replicates
        if replicate.samples[side].get(metric)
    )


def _facts(duet: Duet) -> tuple[Fact, ...]:
    if duet.counters.keys() < set(SIDES):
        return ()
    base, head = (_exact(duet.counters[side]) for side in SIDES)
    found = (Fact(metric=name, base=base.get(name), head=head.get(name)) for name in dict.fromkeys((*base, *head)))
    return tuple(fact for fact in found if fact.base != fact.head)


def _exact(counters: Counters) -> dict[str, float | None]:
    return counters.values | {f"state {part}": float(size) for part, size in counters.state_bytes.items()}


def _order(replicates: Sequence[DuetReplicate]) -> tuple[float, float, float] | None:
    """Returns how many times as long the version in the second place takes, with its 99 % interval."""
    steps = log_ratios(replicates, STEP)
    if len(steps) < LEAST_FOR_ORDER:
        return None
    # Head over base is second over first where base came first.
    placed = [-ratio if replicate.head_first else ratio for ratio, replicate in zip(steps, replicates, strict=True)]
    bounds = sequential.interval(placed, 0.01)
    return None if bounds is None else (math.exp(sequential.center(placed)), *map(math.exp, bounds))  # type: ignore[return-value]


def _caveats(duet: Duet, order: tuple[float, float, float] | None) -> list[Caveat]:
    found = []
    if order is not None and not order[1] <= 1 <= order[2]:
        found.append(
            Caveat(
                code="order-effect",
                message=f"the version that is built second takes {100 * abs(order[0] - 1):.2f} % "
                f"{'more' if order[0] > 1 else 'less'} time: places are drawn by lot, so that this widens intervals "
                "and favors neither",
            )
        )
    late = sorted({name for replicate in duet.replicates for name in replicate.late_imports})
    if late:
        found.append(
            Caveat(code="late-import", message=f"imported after warm-up, inside of steps that were timed: {late[0]}")
        )
    return found
