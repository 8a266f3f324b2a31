"""A process that trains variants side by side to a target: it reads jobs and answers.

Started as `python -m bench.run.target_worker [PLUGIN...]` by bench.run.target, once for each race: what biases a
process biases one seed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext

from bench.data.target import Checkpoint
from bench.errors import StepbenchError
from bench.plugin import HeldOut, Registry
from bench.run.build import Step, build, close, open_held_out, place
from bench.run.clock import clock_for
from bench.run.load import describe, load
from bench.run.probe import environment
from bench.run.serving import serve
from bench.run.target_messages import Runner, TargetAnswer, TargetRequest
from bench.run.training import TrainedStep, set_rate

# Steps of a twin that is thrown away, in which kernels are chosen and memory is fetched.
WARM_UP = 2


def main(arguments: Sequence[str]) -> int:
    """Serves jobs from standard input until it ends."""
    return serve(TargetRequest, lambda: nullcontext(TargetWorker(load(arguments))))


class TargetWorker:
    """The jobs of one race."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.trained: dict[int, TrainedStep] = {}

    def answer(self, job: TargetRequest) -> TargetAnswer:
        """Does a job; what goes wrong with one runner is its own failure."""
        try:
            if job.do == "begin":
                return self._begin(job)
        except StepbenchError as error:
            return TargetAnswer(looks={}, failures={}, usage=str(error))
        looks: dict[int, Checkpoint] = {}
        failures: dict[int, str] = {}
        for number in job.order:
            try:
                looks[number] = self.trained[number].turn(job.steps)
            except Exception as error:  # noqa: BLE001 - a specimen may raise anything, and only its own row is lost
                failures[number] = _reason(error)
        return TargetAnswer(looks=looks, failures=failures)

    def _begin(self, job: TargetRequest) -> TargetAnswer:
        held_out = open_held_out(self.registry, job.data, job.seed)
        failures: dict[int, str] = {}
        for number, runner in enumerate(job.runners):
            try:
                self._enter(number, runner, held_out, job.seed)
            except Exception as error:  # noqa: BLE001 - a specimen may raise anything, and only its own row is lost
                failures[number] = _reason(error)
        device = job.runners[0].variant.device
        return TargetAnswer(environment=environment(device), looks={}, failures=failures)

    def _enter(self, number: int, runner: Runner, held_out: HeldOut, seed: int) -> None:
        variant = runner.variant
        twin = self._build(runner, held_out, seed)
        for index in range(WARM_UP):
            twin.run(index)
        close(twin)
        test = (place(held_out.test[0], variant), place(held_out.test[1], variant))
        step = self._build(runner, held_out, seed)
        self.trained[number] = TrainedStep(step, test, clock_for(variant.device), seed)

    def _build(self, runner: Runner, held_out: HeldOut, seed: int) -> Step:
        step = build(self.registry, runner.variant, data=held_out.train, seed=seed)
        set_rate(step.optimizer, runner.rate)
        return step


def _reason(error: Exception) -> str:
    """Returns what went wrong with a runner on one line."""
    return str(error) if isinstance(error, StepbenchError) else describe(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
