"""Two versions in two processes that take steps in turn: for versions that cannot live in one process."""

from __future__ import annotations

import contextlib
import functools
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.data.duet import SIDES, DuetReplicate, SideName, Version
from bench.data.variant import Variant
from bench.errors import WorkerLost
from bench.run.clock import now
from bench.run.duet_messages import DuetAnswer, DuetRequest
from bench.run.process import WorkerProcess

# Where a process's memory lies biases it for as long as it lives, but models that are built anew lie elsewhere.
REBUILDS = 3
LEAST_PAIRS, MOST_PAIRS = 4, 100
# A rebuild is worth about as much time as it takes itself.
STEPS_SHARE = 1.0


def _pin(process: int, cores: set[int]) -> None:
    """Keeps every thread of a process on some cores, and those that it starts from now on."""
    for thread in Path(f"/proc/{process}/task").iterdir():
        # One may have ended since.
        with contextlib.suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)


class Lost(Exception):
    """A side that broke, with its name and reason."""


class Lockstep:
    """A pair of processes, one for each version, both pinned to the same cores; the unit of replication."""

    def __init__(
        self, start: Callable[[Version], WorkerProcess[DuetAnswer]], versions: dict[SideName, Version]
    ) -> None:
        self._start, self._versions = start, versions
        self._workers: dict[SideName, WorkerProcess[DuetAnswer]] = {}
        self._order = random.SystemRandom()

    def replicate(self, variant: Variant, index: int, *, head_first: bool, begun: float) -> DuetReplicate | str:
        """Starts the pair, takes one replicate and ends the pair; returns what went wrong where a side broke."""
        started = now() - begun
        order: list[SideName] = sorted(SIDES, key=lambda side: (side == "head") != head_first)
        try:
            allowed = sorted(os.sched_getaffinity(0))
            cores = set(self._order.sample(allowed, min(variant.threads, len(allowed))))
            for side in order:
                self._workers[side] = self._start(self._versions[side])
            self._greet(variant.device)
            # Only now: what they import, they import on all cores.
            for worker in self._workers.values():
                _pin(worker.pid, cores)
            samples: dict[SideName, dict[str, list[float]]] = {side: {} for side in SIDES}
            warmup = 0
            for _ in range(REBUILDS):
                warmup = max(warmup, self._rebuild(variant, order, samples))
        except Lost as lost:
            return str(lost)
        finally:
            for worker in self._workers.values():
                worker.stop()
        return DuetReplicate(
            worker=index,
            index=index,
            head_first=head_first,
            started=started,
            warmup_steps=warmup,
            samples={side: {name: tuple(found) for name, found in samples[side].items()} for side in SIDES},
        )

    def _rebuild(self, variant: Variant, order: list[SideName], samples: dict[SideName, dict[str, list[float]]]) -> int:
        built = {side: self._ask(side, DuetRequest(do="build", variant=variant, side=side)) for side in order}
        setup = sum(answer.seconds for answer in built.values())
        first = max(answer.steps for answer in built.values())
        begun = now()
        done = 0
        while done < LEAST_PAIRS or (done < MOST_PAIRS and now() - begun < STEPS_SHARE * setup):
            for side in self._order.sample(order, len(order)):
                answer = self._ask(side, DuetRequest(do="step", variant=variant, side=side, index=first + done))
                for name, value in answer.samples.items():
                    samples[side].setdefault(name, []).append(value)
            done += 1
        return first

    def _greet(self, device: str) -> None:
        """Lets both start at the same time."""
        for side, worker in self._workers.items():
            self._try(side, functools.partial(worker.send, DuetRequest(do="hello", device=device)))
        for side, worker in self._workers.items():
            self._heard(side, self._try(side, worker.receive))

    def _ask(self, side: SideName, request: DuetRequest) -> DuetAnswer:
        return self._heard(side, self._try(side, functools.partial(self._workers[side].ask, request)))

    def _try(self, side: SideName, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except WorkerLost as lost:
            raise Lost(f"{side}: {lost}") from lost

    def _heard(self, side: SideName, answer: DuetAnswer) -> DuetAnswer:
        wrong = answer.usage or answer.failure or answer.leak
        if wrong:
            raise Lost(f"{side}: {wrong}")
        return answer
