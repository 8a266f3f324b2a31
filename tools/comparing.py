"""One comparison from names of commits to a judged report: what `compare` and `history --bisect` have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.analyze import comparison as analysis
from bench.analyze.verdict import Rule
from bench.data.duet import Duet, Version
from bench.data.protocol import Protocol
from bench.data.variant import Variant
from bench.plugin import Registry
from bench.run import compare
from bench.run.version import separate_because

from . import progress, versions

Choose = Callable[[Registry], list[Variant]]


def compared(
    folder: Path,
    sides: tuple[Version, Version],
    choose: Choose,
    rule: Rule,
    given: dict[str, Any],
    *,
    options: tuple[str, ...] = (),
    metric: str | None = None,
) -> tuple[analysis.Report, bool]:
    """Measures the variants that `choose` takes from what both versions register; says whether it was interrupted.

    `given` has data, seed, budget, workers, threads, device and isolation. With `metric` a variant is done as soon as a
    verdict on that one stands.
    """
    separate = separate_because(*sides)
    with progress.bar(None) as show:
        if separate is not None and given["isolation"] != "module":
            sides = (versions.equipped(sides[0], show), versions.equipped(sides[1], show))
        plan = compare.Plan(
            base=sides[0],
            head=sides[1],
            protocol=Protocol(
                data=given["data"], seed=given["seed"], budget_s=given["budget"], workers=given["workers"]
            ),
            threads=given["threads"],
            device=given["device"] or "cpu",
            isolation=given["isolation"],
            separate=separate,
            options=options,
        )
        show("starting workers")
        with compare.Comparison(plan) as comparison:
            variants = choose(comparison.registry())
            duets, interrupted = _measure(comparison, variants, rule, show, metric)
            run = compare.describe(comparison)
    versions.clean(folder)
    return analysis.report(run, duets, rule, len(variants)), interrupted


def _measure(
    comparison: compare.Comparison, variants: Sequence[Variant], rule: Rule, show: progress.Show, metric: str | None
) -> tuple[list[Duet], bool]:
    """Compares variants; an interruption keeps those that are done."""
    duets: list[Duet] = []
    budget_s = comparison.plan.protocol.budget_s

    def advance(variant: Variant, replicates: int, seconds: float) -> None:
        # A variant that is decided early makes the bar jump.
        done = len(duets) * budget_s + min(seconds, budget_s)
        show(f"{variant}: {replicates} replicates", done, len(variants) * budget_s)

    if metric is None:
        decided = functools.partial(analysis.decided, rule=rule, variants=len(variants))
    else:
        decided = functools.partial(analysis.decided_on, metric=metric, rule=rule, variants=len(variants))
    try:
        for variant in variants:
            duet = comparison.compare(variant, decided, advance)
            duets.append(duet)
    except KeyboardInterrupt:
        done = {duet.variant for duet in duets}
        rest = [Duet(variant=variant, status="unmeasured") for variant in variants if variant not in done]
        return duets + rest, True
    return duets, False
