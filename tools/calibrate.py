"""`stepbench calibrate`: comparisons whose true outcome is known, to count how often verdicts are wrong or late."""

from __future__ import annotations

import datetime as dt
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import msgspec

from bench.analyze import calibration, sequential
from bench.analyze import comparison as analysis
from bench.analyze.verdict import Rule
from bench.data.calibration import Trial
from bench.data.duet import Duet
from bench.data.metric import STEP
from bench.data.protocol import Protocol
from bench.data.variant import Variant
from bench.errors import NothingMeasured, StepbenchError
from bench.run import compare
from bench.run.handicap import committed_twice

VARIANTS = ("resnet20/eva/none", "autoencoder/sgd/none", "vit/eva-8bit/none")
# Enough work to be seen by itself, from which the work for a given effect follows.
PROBE_EXTRA = 2000
LIMITS = (10.0, 30.0, 60.0)
SIMULATED = 500


@click.command("calibrate")
@click.argument("selection", nargs=-1, metavar="[VARIANT]...")
@click.option("--effect", type=float, default=0.0, show_default=True, help="Extra cost in head; 0 for identical code.")
@click.option("--of", default=STEP, show_default=True, metavar="METRIC", help="What the effect is a share of.")
@click.option("--trials", type=int, default=10, show_default=True, help="Comparisons of each variant.")
@click.option("--budget", type=float, default=30.0, show_default=True, metavar="SECONDS", help="Of one comparison.")
@click.option("--workers", type=int, default=4, show_default=True, metavar="N", help="Processes that take turns.")
@click.option("--busy", is_flag=True, help="Two at a time: each keeps the other's core busy.")
@click.option(
    "--results", default="results/calibration", show_default=True, metavar="DIR", help="Where trials are appended."
)
@click.option("--summary", is_flag=True, help="Measure nothing; count what the stored trials say.")
def command(
    selection: tuple[str, ...],
    effect: float,
    of: str,
    trials: int,
    budget: float,
    workers: int,
    results: str,
    *,
    busy: bool,
    summary: bool,
) -> int:
    """Compare a version with itself, or with itself and extra work, again and again.

    The committed state of this repository is loaded twice; with --effect the optimizers of one side do so much more
    arithmetic that the step (or the phase given by --of) takes that much longer. Every trial is appended to a file of
    RESULTS at once, so that a study may take several evenings.

    \b
    Examples:
      stepbench calibrate --trials 70
      stepbench calibrate resnet20/eva/none --effect 0.01 --trials 40 --budget 60
      stepbench calibrate --effect 0.05 --of optimize
      stepbench calibrate --summary
    """
    folder = Path(results)
    if summary:
        click.echo(_summary(_stored(folder)))
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%SZ}.jsonl"
    with tempfile.TemporaryDirectory() as scratch, path.open("ab") as stream:
        for text in selection or VARIANTS:
            variant = Variant.parse(text)
            extra = _extra(variant, effect, of, Path(scratch)) if effect else 0
            plan = _plan(extra, Path(scratch), Protocol(budget_s=budget, workers=workers))
            one = partial(_trial, plan, variant, of if effect else None)
            for done, found in enumerate(_together(one, trials) if busy else (one() for _ in range(trials)), 1):
                trial = replace(found, extra=extra, effect=effect, busy=busy)
                stream.write(msgspec.json.encode(trial) + b"\n")
                stream.flush()
                step = calibration.verdicts(trial, Rule())[STEP]
                click.echo(f"{variant} {done}/{trials}: step {step[0]} after {step[1]:.0f} s", err=True)
    click.echo(f"stored: {path}", err=True)
    return 0


def _plan(extra: int, scratch: Path, protocol: Protocol) -> compare.Plan:
    base, head = committed_twice(extra, scratch)
    return compare.Plan(
        base=base,
        head=head,
        protocol=protocol,
        threads=1,
        isolation="module",
        separate=None,
    )


def _extra(variant: Variant, effect: float, of: str, scratch: Path) -> int:
    """Returns how much extra work costs an effect, from what a lot of it costs."""
    trial = _trial(_plan(PROBE_EXTRA, scratch, Protocol(budget_s=20.0, workers=2)), variant)
    cost = math.expm1(sequential.center(trial.log_ratios[of]))
    if cost <= 0:
        raise NothingMeasured(f"--of {of}: extra work in the optimizer does not show there; use step or optimize")
    return max(1, round(PROBE_EXTRA * effect / cost))


def _trial(plan: compare.Plan, variant: Variant, until: str | None = None) -> Trial:
    """Takes replicates until a verdict on a metric stands, or for the whole budget.

    Trials of identical versions take all of it, whatever they say, so that any rule can be tried on them later.
    """
    ends: list[float] = []

    def decided(duet: Duet) -> bool:
        found = analysis.log_ratios(duet.replicates, until) if until else []
        return until is not None and calibration.decided(found, Rule(), until, len(duet.phases))

    with compare.Comparison(plan) as comparison:
        duet = comparison.compare(variant, decided, lambda _, __, seconds: ends.append(seconds))
        run = compare.describe(comparison)
    if duet.failure:
        raise StepbenchError(f"{variant}: {duet.failure}")
    return Trial(
        created=run.created,
        host=run.environment.host,
        commit=plan.head.commit,
        variant=str(variant),
        extra=0,
        effect=0.0,
        of=until or STEP,
        busy=False,
        budget_s=plan.protocol.budget_s,
        phases=duet.phases,
        seconds=tuple(ends),
        head_first=tuple(replicate.head_first for replicate in duet.replicates),
        log_ratios={metric: tuple(analysis.log_ratios(duet.replicates, metric)) for metric in (STEP, *duet.phases)},
    )


def _stored(folder: Path) -> list[Trial]:
    found = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                found.append(msgspec.json.decode(line, type=Trial))
            except msgspec.DecodeError as error:
                click.echo(f"skipped: {path}:{number}: {error}", err=True)
    if not found:
        raise NothingMeasured(f"no trials in {folder}; `stepbench calibrate` makes some")
    return found


def _summary(trials: list[Trial]) -> str:
    rule = Rule()
    words = {id(trial): calibration.verdicts(trial, rule) for trial in trials}
    heads = ["variant", "busy", "change", "within", "slower", "equivalent", "false alarms"]
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---:|---:|---:|---:|"]
    groups: dict[tuple[str, bool, float, str], list[Trial]] = {}
    for trial in trials:
        groups.setdefault((trial.variant, trial.busy, trial.effect, trial.of), []).append(trial)
    for (name, busy, effect, of), own in sorted(groups.items()):
        change = f"{of} +{100 * effect:g} %" if effect else "none"
        alarms = "" if effect else _share(calibration.count([calibration.false_alarm(t, rule) for t in own]))
        longest = max(trial.budget_s for trial in own)
        for limit in [limit for limit in LIMITS if limit <= longest] or [longest]:
            able = [t for t in own if t.budget_s >= limit]
            slower, equivalent = (
                calibration.count([calibration.said_within(words[id(t)], of, word, limit) for t in able])
                for word in ("slower", "equivalent")
            )
            cells = [f"`{name}`", "yes" if busy else "no", change, f"{limit:g} s", _share(slower), _share(equivalent)]
            lines.append(f"| {' | '.join([*cells, alarms])} |")
    identical = [trial for trial in trials if not trial.effect]
    if identical:
        total = calibration.count([calibration.false_alarm(trial, rule) for trial in identical])
        able = [trial for trial in identical if calibration.could_alarm(trial, rule)]
        firm = calibration.count([calibration.false_alarm(trial, rule) for trial in able])
        family = calibration.reports(identical, rule, variants=5, times=SIMULATED)
        lines += [
            "",
            f"False alarms in any row, of all comparisons of identical code: {_share(total)}.",
            f"Of those with replicates enough for a verdict, had all of them said the same: {_share(firm)}.",
            f"Reports of 5 variants (20 rows) with any false alarm, simulated from these trials: {_share(family)}.",
        ]
    return "\n".join(lines)


def _share(found: calibration.Share) -> str:
    return f"{found.hits}/{found.trials} ({100 * found.low:.1f} to {100 * found.high:.1f} %)"


def _together(trial: Callable[[], Trial], count: int) -> Iterator[Trial]:
    """Yields trials as they end, of which two run at any time; each has workers of its own."""
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(trial) for _ in range(count)]
        try:
            for done in as_completed(waiting):
                yield done.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


if __name__ == "__main__":
    sys.exit(command.main(standalone_mode=False))
