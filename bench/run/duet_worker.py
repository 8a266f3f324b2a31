"""A process that hosts one version of the specimens, or both: it reads jobs of a comparison and answers.

Started as `python -m bench.run.duet_worker SETTINGS` with DuetSettings as JSON, by bench.run.compare.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
import torch

from bench.data.duet import SideName
from bench.data.variant import Variant
from bench.errors import PluginFailed, StepbenchError
from bench.plugin import KINDS
from bench.run import fingerprint
from bench.run.build import Step, close
from bench.run.clock import clock_for, now
from bench.run.duet import Duet, LeakFound, warm_up
from bench.run.duet_messages import DuetAnswer, DuetRequest, DuetSettings
from bench.run.exact import exact
from bench.run.isolation import Isolation, Side, isolated, shared_names
from bench.run.load import describe
from bench.run.measure import phased, spans
from bench.run.probe import environment
from bench.run.serving import serve


def main(arguments: Sequence[str]) -> int:
    """Serves jobs from standard input until it ends."""
    return serve(DuetRequest, lambda: _worker(msgspec.json.decode(arguments[0], type=DuetSettings)))


@contextmanager
def _worker(settings: DuetSettings) -> Iterator[DuetWorker]:
    # Before a side is imported: what is loaded by then is what the instrument needs.
    shared = [name for version in settings.versions for name in shared_names(version)]
    with isolated([Side(version) for version in settings.versions]) as isolation:
        yield DuetWorker(settings, isolation, shared)


class DuetWorker:
    """The jobs of one worker process."""

    def __init__(self, settings: DuetSettings, isolation: Isolation, shared: Sequence[str]) -> None:
        self.settings, self.isolation, self.shared = settings, isolation, shared
        self.sides: dict[SideName, Side] = {side.name: side for side in isolation.sides}
        self.duet = Duet(isolation, data=settings.protocol.data, seed=settings.protocol.seed, worker=settings.worker)
        self.step: Step | None = None

    def answer(self, job: DuetRequest) -> DuetAnswer:
        """Does a job; what goes wrong in it becomes part of the answer."""
        try:
            return self._do(job)
        except LeakFound as leak:
            return DuetAnswer(leak=str(leak))
        except PluginFailed as error:
            return self._registered_twice() or DuetAnswer(failure=str(error), side=self.duet.building or job.side)
        except StepbenchError as error:
            return DuetAnswer(usage=str(error), side=self.duet.building or job.side)
        except Exception as error:  # noqa: BLE001 - a specimen may raise anything, and only its own row is lost
            return self._registered_twice() or DuetAnswer(failure=describe(error), side=self.duet.building or job.side)
        finally:
            self.isolation.switch(None)

    def _registered_twice(self) -> DuetAnswer | None:
        """Says that versions cannot share this process, where one raised since it registers operators again."""
        new = fingerprint.registered(self.duet.operators)
        return DuetAnswer(leak=str(LeakFound.of(new))) if new and len(self.sides) > 1 else None

    def _do(self, job: DuetRequest) -> DuetAnswer:
        if job.do == "hello":
            return self._hello(job)
        assert job.variant is not None
        if job.do == "count":
            return self._count(job.variant, self.sides[job.side])
        if job.do == "replicate":
            replicate = self.duet.replicate(
                job.variant, job.index, head_first=job.head_first, begun=self.settings.begun
            )
            return DuetAnswer(replicate=replicate)
        side = self.sides[job.side]
        with self.isolation.inside(side):
            return self._build(job.variant, side) if job.do == "build" else self._step(job.index)

    def _hello(self, job: DuetRequest) -> DuetAnswer:
        if self.shared:
            return DuetAnswer(
                leak=f"{', '.join(self.shared[:3])}: the instrument uses this package itself, so that both versions "
                "would get the same one"
            )
        names: dict[SideName, dict[str, list[str]]] = {}
        for side in self.isolation.sides:
            registry = self.duet.registry(side)
            if self.settings.protocol.data in registry.names("data"):
                # Read now, by all workers at the same time: it imports much, and would be most of a first replicate.
                with self.isolation.inside(side):
                    self.duet.sampler(side, registry)(1, torch.Generator())
            names[side.name] = {kind: registry.names(kind) for kind in KINDS}
        self._refuse_leaks()
        return DuetAnswer(environment=environment(job.device), names=names)

    def _count(self, variant: Variant, side: Side) -> DuetAnswer:
        self.duet.building = side.name
        registry = self.duet.registry(side)
        sampler = self.duet.sampler(side, registry)
        with self.isolation.inside(side):
            found = exact(registry, variant, self.settings.protocol, sampler)
        # Else what one side changes would be in the counters of the other.
        self._refuse_leaks()
        return DuetAnswer(exact=found)

    def _refuse_leaks(self) -> None:
        if len(self.sides) > 1:
            self.duet.refuse_leaks()

    def _build(self, variant: Variant, side: Side) -> DuetAnswer:
        if self.step is not None:
            close(self.step)
            self.step = None
        begun = now()
        self.isolation.switch(None)
        self.step = self.duet.build(side, variant)
        self.isolation.switch(side)
        steps, _, _ = warm_up(self.step)
        return DuetAnswer(steps=steps, seconds=now() - begun)

    def _step(self, index: int) -> DuetAnswer:
        assert self.step is not None
        clock = clock_for(self.step.variant.device)
        _, marks = phased(self.step, clock, index)
        values = {name: found[0] for name, found in spans(self.step, clock, [(phased, marks)]).items()}
        wall, cpu = clock.span(marks[0], marks[-1])
        return DuetAnswer(samples=values | {"step": wall, "step.cpu": cpu})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
