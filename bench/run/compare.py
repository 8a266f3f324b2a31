"""The schedule of a comparison: which worker takes which replicate, until a verdict stands or the budget is spent."""

from __future__ import annotations

import datetime as dt
import random
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Literal

import msgspec

from bench.data.duet import SIDES, Duet, DuetRun, SideName, Version
from bench.data.environment import Environment
from bench.data.measurement import Caveat, Counters
from bench.data.protocol import Protocol
from bench.data.variant import PART_AXES, Variant
from bench.errors import InvalidOption, StepbenchError, WorkerLost
from bench.plugin import Registry
from bench.run.clock import now
from bench.run.duet_messages import DuetAnswer, DuetRequest, DuetSettings
from bench.run.lockstep import Lockstep
from bench.run.process import WorkerProcess, Workers

WORKER = "bench.run.duet_worker"
Names = dict[SideName, dict[str, list[str]]]
# Told what was measured of a variant so far, says whether more is not needed.
Decided = Callable[[Duet], bool]
Progress = Callable[[Variant, int, float], None]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a comparison was asked for; `separate` says why the versions cannot share a process, where that is known."""

    base: Version
    head: Version
    protocol: Protocol
    threads: int
    device: str = "cpu"
    isolation: Literal["auto", "module", "process"]
    separate: str | None
    options: tuple[str, ...] = ()
    begun: float = field(default_factory=now)


class Comparison(Workers):
    """Workers that hold both versions, opened once for all variants of one thread count."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.order = random.SystemRandom()
        self.because = plan.separate if plan.isolation != "module" else None
        if plan.isolation == "process":
            self.because = "asked for"
        self._workers: list[WorkerProcess[DuetAnswer]] = []
        self._next = 0
        self._tainted = False
        self.names: Names = {}
        self.environment: Environment | None = None

    def _open(self) -> None:
        if self.because is None:
            for answer in self._shared():
                if answer.leak and self.plan.isolation == "auto":
                    self.because = answer.leak
                elif answer.leak:
                    raise InvalidOption(f"--isolation module: {answer.leak}")
        if self.because is not None:
            self._workers = [self.start((version,)) for version in (self.plan.base, self.plan.head)]
            self._greet(self._workers)

    def _shared(self) -> list[DuetAnswer]:
        """Starts the workers that hold both versions each."""
        for worker in self._workers:
            worker.stop()
        self._tainted = False
        self._workers = [self.start((self.plan.base, self.plan.head)) for _ in range(self.plan.protocol.workers)]
        return self._greet(self._workers)

    def _greet(self, workers: Sequence[WorkerProcess[DuetAnswer]]) -> list[DuetAnswer]:
        for worker in workers:
            worker.send(DuetRequest(do="hello", device=self.plan.device))
        answers = [worker.receive() for worker in workers]
        for answer in answers:
            wrong = answer.usage or answer.failure
            if wrong:
                raise StepbenchError(f"{answer.side}: {wrong}")
            self.names |= answer.names
            self.environment = self.environment or answer.environment
        return answers

    def start(self, versions: tuple[Version, ...]) -> WorkerProcess[DuetAnswer]:
        """Starts a worker with some versions; it ends with this comparison."""
        settings = DuetSettings(
            worker=self._next, begun=self.plan.begun, protocol=self.plan.protocol, versions=versions
        )
        worker = WorkerProcess(
            self._next,
            self.plan.threads,
            self.plan.protocol.wait_policy,
            module=WORKER,
            arguments=[msgspec.json.encode(settings).decode()],
            answers=DuetAnswer,
            python=versions[0].python,
        )
        self._next += 1
        self._stack.callback(worker.stop)
        return worker

    def registry(self) -> Registry:
        """Returns a registry with the names of both versions, to select variants by."""
        registry = Registry()
        for kind in ("model", "optimizer", "quantization"):
            for name in dict.fromkeys(name for side in SIDES for name in self.names[side][kind]):
                getattr(registry, kind)(name)(lambda: None)
        return registry

    def compare(self, variant: Variant, decided: Decided, progress: Progress) -> Duet:
        """Measures one variant on both sides until `decided`, or until its budget is spent."""
        missing = [side for side in SIDES if not self._has(side, variant)]
        if missing:
            return Duet(variant=variant, status="new" if missing == ["base"] else "gone")
        begun = now()
        if self._tainted:
            # What one variant changed there, every later one would be held to have changed.
            self._shared()
        duet, leak = self._counted(variant)
        if duet.status == "failed":
            return duet
        because = self.because or leak or ("compiling takes longer than a replicate" if variant.compiled else None)
        if because is None:
            duet, because = self._in_one_process(duet, decided, progress)
        if because is not None and duet.status != "failed":
            duet = self._in_two(replace(duet, isolation="process", because=because), decided, progress)
        return replace(duet, seconds=now() - begun)

    def _has(self, side: SideName, variant: Variant) -> bool:
        known = self.names[side]
        return all(
            getattr(variant, axis) in known[axis] or (axis != "model" and getattr(variant, axis) == "none")
            for axis in PART_AXES
        )

    def _counted(self, variant: Variant) -> tuple[Duet, str | None]:
        """Returns what both sides count, and why they cannot do it in one process where they could not."""
        duet = Duet(variant=variant, status="compared")
        counters: dict[SideName, Counters] = {}
        found = self._counts(variant, self._workers)
        leak = next((answer.leak for answer in found.values() if answer.leak), None)
        self._tainted |= leak is not None
        if leak is not None and self.plan.isolation == "auto":
            alone = [self.start((version,)) for version in (self.plan.base, self.plan.head)]
            self._greet(alone)
            found = self._counts(variant, alone)
            for worker in alone:
                worker.stop()
        for side, answer in found.items():
            if answer.exact is None:
                wrong = answer.usage or answer.failure or f"--isolation module: {answer.leak}"
                return replace(duet, status="failed", failure=f"{side}: {wrong}"), None
            counters[side] = answer.exact.counters
        exact = found["head"].exact
        assert exact is not None
        counted = replace(
            duet,
            phases=exact.phases,
            counters=counters,
            sources={side: answer.exact.sources for side, answer in found.items() if answer.exact},
            caveats=_both({side: answer.exact.caveats for side, answer in found.items() if answer.exact}),
        )
        return counted, leak

    def _counts(self, variant: Variant, workers: Sequence[WorkerProcess[DuetAnswer]]) -> dict[SideName, DuetAnswer]:
        # Counting times nothing: where there are two workers, the two sides do it at the same time.
        hosts = dict(zip(SIDES, [*workers, *workers][: len(SIDES)], strict=True))
        with ThreadPoolExecutor(min(len(hosts), len(workers))) as threads:
            asked = {
                side: threads.submit(_answer, host, DuetRequest(do="count", variant=variant, side=side))
                for side, host in hosts.items()
            }
        # Started by a thread of the pool, a worker would end with it.
        return {side: self._replaced(hosts[side], answer.result()) for side, answer in asked.items()}

    def _in_one_process(self, duet: Duet, decided: Decided, progress: Progress) -> tuple[Duet, str | None]:
        begun = now()
        while True:
            slot = len(duet.replicates) % len(self._workers)
            request = DuetRequest(
                do="replicate",
                variant=duet.variant,
                index=len(duet.replicates),
                head_first=self.order.random() < 0.5,
            )
            worker = self._workers[slot]
            answer = self._replaced(worker, _answer(worker, request))
            self._tainted |= answer.leak is not None
            if answer.leak and self.plan.isolation == "auto":
                return replace(duet, replicates=()), answer.leak
            if answer.replicate is None:
                wrong = answer.usage or answer.failure or f"--isolation module: {answer.leak}"
                where = f"{answer.side}: " if answer.side else ""
                return replace(duet, status="failed", failure=f"{where}{wrong}"), None
            duet = replace(duet, replicates=(*duet.replicates, answer.replicate))
            progress(duet.variant, len(duet.replicates), now() - begun)
            if decided(duet) or now() - begun >= self.plan.protocol.budget_s:
                return duet, None

    def _in_two(self, duet: Duet, decided: Decided, progress: Progress) -> Duet:
        begun = now()
        while True:
            pair = Lockstep(lambda version: self.start((version,)), {"base": self.plan.base, "head": self.plan.head})
            replicate = pair.replicate(
                duet.variant,
                len(duet.replicates),
                head_first=self.order.random() < 0.5,
                begun=self.plan.begun,
            )
            if isinstance(replicate, str):
                return replace(duet, status="failed", failure=replicate)
            duet = replace(duet, replicates=(*duet.replicates, replicate))
            progress(duet.variant, len(duet.replicates), now() - begun)
            if decided(duet) or now() - begun >= self.plan.protocol.budget_s:
                return duet

    def _replaced(self, worker: WorkerProcess[DuetAnswer], answer: DuetAnswer | WorkerLost) -> DuetAnswer:
        """Returns an answer; a worker that was lost over it has another one in its place from here on."""
        if isinstance(answer, DuetAnswer):
            return answer
        if worker in self._workers:
            place, versions = self._workers.index(worker), (self.plan.base, self.plan.head)
            self._workers[place] = self.start(versions if self.because is None else (versions[place],))
        return DuetAnswer(failure=str(answer))


def _answer(worker: WorkerProcess[DuetAnswer], request: DuetRequest) -> DuetAnswer | WorkerLost:
    try:
        return worker.ask(request)
    except WorkerLost as lost:
        return lost


def _both(caveats: dict[SideName, tuple[Caveat, ...]]) -> tuple[Caveat, ...]:
    """Returns the sides' caveats by whom they are of; what is said of both is said once."""
    of = {caveat: [side for side in caveats if caveat in caveats[side]] for side in caveats for caveat in caveats[side]}
    return tuple(replace(caveat, message=f"{' and '.join(sides)}: {caveat.message}") for caveat, sides in of.items())


def describe(comparison: Comparison) -> DuetRun:
    """Returns what all duets of a comparison share."""
    plan = comparison.plan
    assert comparison.environment is not None
    return DuetRun(
        id=secrets.token_hex(4),
        created=dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        base=plan.base,
        head=plan.head,
        environment=comparison.environment,
        data=plan.protocol.data,
        seed=plan.protocol.seed,
        budget_s=plan.protocol.budget_s,
        workers=plan.protocol.workers,
        options=plan.options,
    )
