"""Time to target: variants are trained until they are as good as was asked for, side by side.

First each variant finds its learning rate: all rates of the grid race from one seed, and the first at the target wins.
Then, seed by seed, the variants train side by side at the rates they found. In each turn every one that is not there
yet takes a few steps, in an order drawn by lot: a slow minute of the machine falls on all of them.
"""

from __future__ import annotations

import random
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
    """Returns how many races there will be: one a variant for its rate, one a seed and problem."""
    return len(variants) * (len(run.protocol.rates) > 1) + run.protocol.seeds * len(_problems(variants))


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
            if len(runners) == 1:
                rates[variant] = protocol.rates[0]
                continue
            found = _race(run, runners, protocol.seed, tuning=True, tell=tell)
            yield from found
            rates[variant] = choose([record.training for record in found], protocol.target)
            done += 1
        for seed in range(protocol.seed + 1, protocol.seed + 1 + protocol.seeds):
            runners = [Runner(variant=variant, rate=rate) for variant, rate in rates.items()]
            yield from _race(run, runners, seed, tuning=False, tell=tell)
            done += 1


def choose(trials: Sequence[Training], target: Target) -> float:
    """Returns the learning rate that was at the target in the fewest steps.

    Of several the one that was further beyond it, and where none was there, the one that came closest.
    """

    def rank(trial: Training) -> tuple[float, float]:
        reached = trial.reached(target)
        return (float("inf"), -trial.best) if reached is None else (reached.steps, -reached.accuracy)

    return min(trials, key=rank).rate


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
            if tuning and any(_there(racer, protocol.target) for racer in racers):
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
