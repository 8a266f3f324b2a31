"""What every form of a comparison says, apart from how it is drawn."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace

from bench.analyze.comparison import ComparedVariant, Fact, Judged, Report
from bench.analyze.verdict import Verdict, Word
from bench.data.duet import Turns, Version
from bench.data.metric import METRICS, PHASES, STEP
from bench.data.variant import DEFAULTS
from bench.report import cells
from bench.report.plain import one_line, plural

ABSENT = "—"
COLUMNS = (STEP, *PHASES)
_RANK: dict[Word, int] = {"slower": 0, "faster": 1, "inconclusive": 2, "equivalent": 3}
_STATUS = {
    "new": "new: base does not have it",
    "gone": "gone: head does not have it",
    "unmeasured": "not measured: the comparison was interrupted",
}


@dataclass(frozen=True)
class Headline:
    """The verdict on a whole comparison, in a sentence; `word` says which color it gets."""

    word: Word
    text: str


def percent(value: float) -> str:
    """Returns a relative change with two significant digits: `+1.2 %`, `-0.04 %`."""
    change = 100 * value
    digits = 0 if abs(change) >= 10 else 1 if abs(change) >= 1 else 2
    return f"{change:+.{digits}f} %"


def change(verdict: Verdict) -> str:
    """Returns the estimated change."""
    return percent(verdict.ratio - 1)


def interval(verdict: Verdict) -> str:
    """Returns the interval of the change; without one, the side that a firm verdict leaves.

    A test of signs that has few replicates can refute no change before it can refute one that is very far away, and
    that one is then inside of an interval that has no end on either side.
    """
    if verdict.low is None or verdict.high is None:
        return {"slower": "more than 0 %", "faster": "less than 0 %"}.get(verdict.word, "unbounded")
    return f"{percent(verdict.low - 1).removesuffix(' %')} to {percent(verdict.high - 1)}"


def detectable(verdict: Verdict) -> str:
    """Returns the smallest change that would have been found."""
    return ABSENT if verdict.detectable is None else f"{100 * verdict.detectable:.2g} %"


def sees(verdict: Verdict) -> str:
    """Returns that with its name, for a cell."""
    return f"sees {detectable(verdict)}"


def replicates(item: ComparedVariant) -> str:
    """Returns how many replicates there are, and pairs of steps in them."""
    found = item.duet.replicates
    return f"{len(found)}x{round(sum(len(r.samples['base'][STEP]) for r in found) / len(found))}" if found else ABSENT


def row(item: ComparedVariant, metric: str) -> Judged | None:
    """Returns a variant's row of a metric."""
    return next((found for found in item.rows if found.metric == metric), None)


def status(item: ComparedVariant) -> str:
    """Returns why a variant has no verdicts, nothing for one that has."""
    if item.duet.status == "compared":
        return ""
    if item.duet.status == "failed":
        return f"failed: {one_line(item.duet.failure or 'no reason was given')}"
    return _STATUS[item.duet.status]


def ordered(report: Report) -> list[ComparedVariant]:
    """Returns variants with the worst news first, then by size of effect; those without verdicts last."""

    def place(item: ComparedVariant) -> tuple[float, float]:
        if not item.rows:
            return (9.0, 0.0)
        return (
            min(_RANK[found.verdict.word] for found in item.rows),
            -max(abs(math.log(found.verdict.ratio)) for found in item.rows),
        )

    return sorted(report.variants, key=place)


def headline(report: Report) -> Headline:
    """Returns the verdict line: what is slower or faster by how much, else how sure it is that nothing is.

    What could not be measured on one side ends it.
    """
    line = news(report)
    failed = sum(item.duet.status == "failed" for item in report.variants)
    return replace(line, text=f"{line.text}; FAILED: {plural(failed, 'variant')}") if failed else line


def news(report: Report) -> Headline:
    """Returns the verdict line without what failed."""
    found = [(item, judged) for item in ordered(report) for judged in item.rows]
    for word in ("slower", "faster"):
        hits = sorted(
            ((item, judged) for item, judged in found if judged.verdict.word == word),
            key=lambda hit: (hit[1].metric != STEP, -abs(math.log(hit[1].verdict.ratio))),
        )
        if hits:
            item, judged = hits[0]
            variants = len({str(hit.duet.variant) for hit, _ in hits})
            more = f", and {plural(len(hits) - 1, 'more row')}" if len(hits) > 1 else ""
            text = (
                f"{word.upper()}: {plural(variants, 'variant')} of {len(report.variants)}; "
                f"{item.duet.variant}: {judged.metric} {change(judged.verdict)} ({interval(judged.verdict)}){more}"
            )
            return Headline(word, text)
    steps = [item.step.verdict for item in report.variants if item.step is not None]
    if not steps:
        return Headline("inconclusive", "NOTHING MEASURED: no variant is there on both sides and works")
    unsure = [verdict for verdict in steps if verdict.word == "inconclusive"]
    if unsure:
        sizes = [verdict.detectable for verdict in unsure]
        seen = "nothing" if None in sizes else f"{100 * max(size for size in sizes if size is not None):.2g} % or more"
        return Headline(
            "inconclusive",
            f"INCONCLUSIVE: no step is known to be slower or faster; {len(unsure)} of {len(steps)} could have shown "
            f"{seen}",
        )
    margin = f"{100 * report.rule.margin:g} %"
    which = "the step of the one variant is" if len(steps) == 1 else f"the steps of all {len(steps)} variants are"
    return Headline("equivalent", f"EQUIVALENT: {which} within {margin}")


TURNS: dict[Turns, str] = {
    "step by step": "step against step",
    "phase by phase": "phase against phase",
    "at once": "at once on one core and by CPU time",
}


def heading(report: Report) -> list[str]:
    """Returns what was compared, on which machine, and how."""
    run, rule = report.run, report.rule
    environment = run.environment
    defaults = ", ".join(f"{axis}={str(value).lower()}" for axis, value in DEFAULTS.items())
    margin = f"{100 * rule.margin:g} %"
    lines = [
        f"base {version(run.base)} against head {version(run.head)}; {run.created}",
        cells.machine(environment),
        (
            f"torch {environment.torch}, Python {environment.python}, stepbench {environment.stepbench}; "
            f"OMP_WAIT_POLICY={environment.wait_policy}; data {run.data}, seed {run.seed}"
        ),
        f"{method(report)}; {plural(run.workers, 'worker')}, at most {run.budget_s:g} s a variant",
        *(
            f"{side.side} ran with packages of its own: {', '.join(side.packages)}"
            for side in (run.base, run.head)
            if side.packages
        ),
        f"variants, unless they say otherwise: {defaults}",
        (
            f"slower, faster: no change is excluded and the estimate is {100 * rule.threshold:g} % or more; "
            f"equivalent: the whole interval within {margin}"
        ),
    ]
    return [one_line(line) for line in lines]


def legend(report: Report) -> list[str]:
    """Returns what the numbers mean."""
    level = f"{100 * (1 - report.rule.alpha):g} %"
    return [
        (
            "change: head over base, the center of the replicates' medians of paired log ratios, above its interval; "
            f"all intervals of a report hold together, whenever the run stopped, with {level}."
        ),
        (
            "sees: the change that these replicates would have found nine times in ten, — where it is unbounded. "
            "n: replicates x pairs of steps."
        ),
    ]


def facts(item: ComparedVariant) -> list[str]:
    """Returns the exact metrics that differ: facts, without statistics."""
    return [f"{fact.metric}: {_value(fact, fact.base)} -> {_value(fact, fact.head)}" for fact in item.facts]


def notes(item: ComparedVariant) -> list[str]:
    """Returns what a verdict's word alone would hide."""
    return [f"{found.metric}: {found.verdict.note}" for found in item.rows if found.verdict.note]


def version(side: Version) -> str:
    """Returns a version's name and commit."""
    commit = side.commit[:10]
    name = "" if side.commit.startswith(side.name) else f"{one_line(side.name)} "
    return f"{name}({commit}{', with uncommitted changes' if side.dirty else ''})"


def reproduce(report: Report) -> str:
    """Returns the command that does it again."""
    run = report.run
    head = [] if run.head.dirty or run.head.name == "working tree" else [run.head.commit[:10]]
    variants = [str(item.duet.variant) for item in report.variants]
    words = ["stepbench", "compare", *run.options, run.base.commit[:10], *(head or ["."]), *variants]
    return shlex.join(words)


def method(report: Report) -> str:
    """Returns how the versions were kept apart and took their turns."""
    taken: dict[tuple[str, str | None], set[Turns]] = {}
    for item in report.variants:
        if item.rows:
            reason = (item.duet.isolation, item.duet.because)
            taken.setdefault(reason, set()).update(replicate.turns for replicate in item.duet.replicates)
    named = []
    for (isolation, because), turns in sorted(taken.items(), key=str):
        how = " or ".join(text for name, text in TURNS.items() if name in turns)
        if isolation == "module":
            named.append(f"both versions in one process, {how}")
        else:
            named.append(f"a process for each version, {how}, because {one_line(because or 'it was asked for')}")
    return "; ".join(named) or "nothing was measured"


def _value(fact: Fact, value: float | None) -> str:
    if value is None:
        return "none"
    metric = METRICS.get(fact.metric)
    unit = "B" if metric is None else metric.unit.removesuffix("count")
    # A difference of one in a million is a fact too: nothing is rounded.
    return f"{value:,.10g} {unit}".strip()
