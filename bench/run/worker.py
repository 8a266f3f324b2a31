"""A process that hosts steps: it reads jobs, runs them through the timing core, and answers.

Started as `python -m bench.run.worker INDEX [PLUGIN...]` by bench.run.pool, which has set the thread count and the
OpenMP wait policy in its environment: both are read when torch is imported, and cannot be changed after.
"""

from __future__ import annotations

import math
import random
import sys
from contextlib import nullcontext

from bench.data.measurement import Caveat, Replicate
from bench.data.variant import Variant
from bench.errors import StepbenchError
from bench.plugin import Registry, Sampler
from bench.run import foreign, ranks
from bench.run.build import Step, build, close, open_data
from bench.run.clock import clock_for, now
from bench.run.exact import exact
from bench.run.load import describe, load
from bench.run.measure import quiet_collector, take
from bench.run.messages import Answer, Request
from bench.run.probe import environment
from bench.run.serving import serve

# Building counts as time of a replicate, but what is slow to build (calibrated, compiled) is measured all the same.
LEAST_SHARE = 0.5


def main(arguments: list[str]) -> int:
    """Serves jobs from standard input until it ends."""
    return serve(Request, lambda: nullcontext(Worker(int(arguments[0]), load(arguments[1:]))))


class Worker:
    """The jobs of one worker process; `index` tells its replicates from those of the others."""

    def __init__(self, index: int, registry: Registry) -> None:
        self.index = index
        self.registry = registry
        self.order = random.Random(index)  # noqa: S311 - an order of steps is no secret
        self._data: dict[str, Sampler] = {}

    def answer(self, job: Request) -> Answer:
        """Does a job; what goes wrong in it becomes part of the answer."""
        try:
            if job.variant is not None:
                ranks.join(job.variant)
            if job.do == "hello":
                return Answer(environment=environment(job.variant.device if job.variant else "cpu"))
            if job.do == "data":
                self.data(job)
                return Answer()
            assert job.variant is not None
            if job.do == "count":
                return Answer(exact=exact(self.registry, job.variant, job.protocol, self.data(job)))
            return self.replicate(job, job.variant)
        except StepbenchError as error:
            return Answer(usage=str(error))
        except Exception as error:  # noqa: BLE001 - a specimen may raise anything, and only its own row is lost
            return Answer(failure=describe(error))

    def data(self, job: Request) -> Sampler:
        """Returns the protocol's data source, which is read once: it is the same for every replicate."""
        name = job.protocol.data
        if name not in self._data:
            self._data[name] = open_data(self.registry, name)
        return self._data[name]

    def replicate(self, job: Request, variant: Variant) -> Answer:
        """Rebuilds a variant and takes one replicate of it."""
        started = now() - job.begun
        before = foreign.snapshot()
        begun = now()
        step = build(self.registry, variant, data=self.data(job), seed=job.protocol.seed)
        if variant.compiled:
            # Compiling happens in the first run, and belongs to building.
            step.run(0)
        if step.handover is not None:
            step.handover.learn(step)
        left = max(LEAST_SHARE, 1 - (now() - begun) / job.protocol.replicate_s) * job.protocol.replicate_s
        if not ranks.leads():
            return _follow(step, before)
        clock, others_s = clock_for(variant.device), 0.0
        if variant.ranks > 1:
            taken = take(step, clock, left, self.order, lambda: ranks.say(True))
            ranks.say(False)
            others_s = _end_together(step, before)
        else:
            taken = take(step, clock, left, self.order)
        close(step)
        load_ = foreign.load_between(before, foreign.snapshot(), others_s)
        steps = taken.warmup_steps + 2 * len(taken.samples["step"])
        caveats: tuple[Caveat, ...] = ()
        if not math.isfinite(taken.last_loss):
            caveats = (
                Caveat(
                    code="loss-not-finite-while-timed",
                    message="the loss stopped being finite while steps were timed: such times say little; "
                    f"lower the learning rate (first seen within {steps} steps)",
                ),
            )
        return Answer(
            replicate=Replicate(
                worker=self.index,
                round=job.round,
                started=started,
                warmup_steps=taken.warmup_steps,
                settled=taken.settled,
                foreign_load=load_,
                samples=taken.samples,
            ),
            caveats=caveats,
        )


def _follow(step: Step, before: foreign.Snapshot | None) -> Answer:
    """Takes a step whenever rank 0 does; what there is to say of them is said by rank 0."""
    with quiet_collector():
        for index in ranks.told():
            step.run(index)
    _end_together(step, before)
    close(step)
    return Answer()


def _end_together(step: Step, before: foreign.Snapshot | None) -> float:
    """Compares the parameters of all ranks; returns the CPU time of the other ranks, in seconds."""
    ranks.check_identical(step.module)
    return ranks.of_others(foreign.own_between(before, foreign.snapshot()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
