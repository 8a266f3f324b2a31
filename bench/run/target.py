"""Time to target: variants are trained until they are as good as was asked for, side by side.

First each variant finds its learning rate: all rates of the grid race from one seed or several, and the one that is at
the target in the fewest steps wins.
Then, seed by seed, the variants train side by side at the rates they found. In each turn every one that is not there
yet takes a few steps, in an order drawn by lot: a slow minute of the machine falls on all of them.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from bench.data.environment import Environment
from bench.data.target import Checkpoint, Target, TargetProtocol, TargetRecord, Training
from bench.data.variant import NONE, Variant
from bench.errors import InvalidVariant, StepbenchError, WorkerLost
from bench.run.process import WorkerProcess
from bench.run.target_messages import Runner, TargetAnswer, TargetRequest

# Tells what is trained, how much of all there can be is done, and how much that is.
Progress = Callable[[str, float, float], None]
# With several seeds to choose by, how far behind the winner a rate was matters, but one that never arrives must not
# take the time of all others: after so many times the winner's steps it counts with these.
PATIENCE = 2
# A turn of the slowest model with the largest batch takes minutes on a slow machine.
PATIENCE_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class TargetRun:
    """What all trainings of one run share; `plugins` are paths of plug-in files."""

    id: str
    created: str
    protocol: TargetProtocol
    plugins: tuple[str, ...]


@dataclass(kw_only=True)
class _Racer:
    """A runner under way, as the parent process sees it."""

    runner: Runner
    looks: list[Checkpoint] = field(default_factory=list)
    failure: str | None = None

    def training(self, seed: int, *, tuning: bool) -> Training:
        return Training(
            variant=self.runner.variant,
            rate=self.runner.rate,
            seed=seed,
            tuning=tuning,
            checkpoints=tuple(self.looks),
            failure=self.failure,
        )

    def runs(self, protocol: TargetProtocol) -> bool:
        """Says whether it has neither arrived nor failed nor been given up."""
        if self.failure or not self.looks:
            return not self.failure
        last = self.looks[-1]
        return last.accuracy < protocol.target.value and last.steps < protocol.limit


def check(variants: Sequence[Variant]) -> None:
    """Raises InvalidVariant for a variant that is not trained, or not in the way in which a target is reached."""
    for variant in variants:
        for wrong, why in (
            (variant.optimizer == NONE, "has no optimizer, and so nothing is trained to a target"),
            (variant.compiled, "compiling would be most of the time to a target; leave compiled=true away"),
            (variant.ranks > 1, "a target is trained to in one process; leave ranks away"),
        ):
            if wrong:
                raise InvalidVariant(f"{variant}: {why}")


def races(run: TargetRun, variants: Sequence[Variant]) -> int:
    """Returns how many races there will be: one a variant and seed for its rate, one a problem and measured seed."""
    return len(variants) * len(run.protocol.tuned_with) + run.protocol.seeds * len(_problems(variants))


def train(run: TargetRun, variants: Sequence[Variant], progress: Progress) -> Iterator[TargetRecord]:
    """Trains variants to the target and yields the record of each training when its race is over.

    Raises StepbenchError where a process cannot start, or the data source holds out nothing.
    """
    check(variants)
    done, total = 0, races(run, variants)
    protocol = run.protocol

    def tell(text: str, share: float) -> None:
        progress(text, done + share, total)

    for together in _problems(variants):
        rates: dict[Variant, float] = {}
        for variant in together:
            runners = [Runner(variant=variant, rate=rate) for rate in protocol.rates]
            trials: list[Training] = []
            for seed in protocol.tuned_with:
                found = _race(run, runners, seed, tuning=True, tell=tell)
                yield from found
                trials += [record.training for record in found]
                done += 1
            rates[variant] = choose(trials, protocol.target) if trials else protocol.rates[0]
        for seed in protocol.measured_with:
            runners = [Runner(variant=variant, rate=rate) for variant, rate in rates.items()]
            yield from _race(run, runners, seed, tuning=False, tell=tell)
            done += 1


def choose(trials: Sequence[Training], target: Target) -> float:
    """Returns the learning rate that was at the target in the fewest steps, on the mean over seeds.

    One that never was counts with the steps of the longest training of its seed. Of several rates the one with the
    higher accuracy when it arrived, or at its best.
    """
    longest: dict[int, int] = {}
    for trial in trials:
        taken = trial.checkpoints[-1].steps if trial.checkpoints else 0
        longest[trial.seed] = max(longest.get(trial.seed, 0), taken)

    def rank(rate: float) -> tuple[float, float, float]:
        own = [trial for trial in trials if trial.rate == rate]
        reached = [trial.reached(target) for trial in own]
        steps = [longest[t.seed] if look is None else look.steps for t, look in zip(own, reached, strict=True)]
        accuracy = [t.best if look is None else look.accuracy for t, look in zip(own, reached, strict=True)]
        return statistics.fmean(steps), reached.count(None), -statistics.fmean(accuracy)

    return min(dict.fromkeys(trial.rate for trial in trials), key=rank)


def _problems(variants: Sequence[Variant]) -> list[list[Variant]]:
    """Groups variants that train the same model on the same batches, with whatever optimizer and quantization."""
    groups: dict[Variant, list[Variant]] = {}
    for variant in variants:
        groups.setdefault(replace(variant, optimizer=NONE, quantization=NONE), []).append(variant)
    return list(groups.values())


def _race(
    run: TargetRun, runners: Sequence[Runner], seed: int, *, tuning: bool, tell: Callable[[str, float], None]
) -> list[TargetRecord]:
    """Lets runners train side by side in a process of their own; trials of rates end when the first one is there."""
    protocol = run.protocol
    order = random.Random(f"{run.id} {seed}")  # noqa: S311 - an order of turns is no secret
    racers = [_Racer(runner=runner) for runner in runners]
    what = f"{runners[0].variant}: learning rates" if tuning else f"{runners[0].variant.model}: seed {seed}"
    tell(f"{what}, starting", 0.0)
    worker = WorkerProcess(
        0, runners[0].variant.threads, protocol.wait_policy,
        module="bench.run.target_worker", arguments=run.plugins, answers=TargetAnswer,
    )  # fmt: skip
    try:
        answer = worker.ask(
            TargetRequest(do="begin", data=protocol.data, seed=seed, runners=tuple(runners)), PATIENCE_S
        )
        if answer.usage or answer.environment is None:
            raise StepbenchError(answer.usage or "the process that trains said nothing of itself")
        environment = answer.environment
        _note(racers, answer)
        while places := [place for place, racer in enumerate(racers) if racer.runs(protocol)]:
            steps = protocol.every
            taken = max((racer.looks[-1].steps for racer in racers if racer.looks), default=0)
            _turn(worker, racers, order.sample(places, len(places)), min(steps, protocol.limit - taken))
            best = max((racer.looks[-1].accuracy for racer in racers if racer.looks), default=0.0)
            tell(f"{what}, {taken + steps} steps, {best:.1%}", min(1.0, taken / protocol.limit))
            first = min((racer.looks[-1].steps for racer in racers if _there(racer, protocol.target)), default=None)
            patience = PATIENCE if protocol.tuning_seeds > 1 else 1
            if tuning and first is not None and taken + steps >= patience * first:
                break
    finally:
        worker.stop()
    return [_record(run, racer.training(seed, tuning=tuning), environment) for racer in racers]


def _turn(worker: WorkerProcess[TargetAnswer], racers: Sequence[_Racer], order: Sequence[int], steps: int) -> None:
    try:
        _note(racers, worker.ask(TargetRequest(do="turn", order=tuple(order), steps=steps), PATIENCE_S))
    except WorkerLost as lost:
        for place in order:
            racers[place].failure = str(lost)


def _note(racers: Sequence[_Racer], answer: TargetAnswer) -> None:
    for place, look in answer.looks.items():
        racers[place].looks.append(look)
    for place, failure in answer.failures.items():
        racers[place].failure = failure


def _there(racer: _Racer, target: Target) -> bool:
    return bool(racer.looks) and racer.looks[-1].accuracy >= target.value


def _record(run: TargetRun, training: Training, environment: Environment) -> TargetRecord:
    return TargetRecord(
        run=run.id, created=run.created, protocol=run.protocol, training=training, environment=environment
    )
