"""A process that hosts what is profiled.

Started as `python -m bench.profile.worker SETTINGS` with ProfileSettings as JSON, by bench.profile.session and its
neighbours, which have set the thread count in its environment.
"""

from __future__ import annotations

import ctypes
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import torch

from bench.errors import StepbenchError
from bench.profile import traced
from bench.profile.host import Built, Host, hosting
from bench.profile.messages import Failed, ProfileAnswer, ProfileRequest, ProfileSettings, TakenLines
from bench.profile.replicate import take
from bench.run.clock import now
from bench.run.duet import LeakFound
from bench.run.isolation import shared_names
from bench.run.load import describe
from bench.run.probe import environment
from bench.run.serving import serve

# Lets a profiler that is no parent of this process attach to it: `prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)`.
_PR_SET_PTRACER, _ANY = 0x59616D61, -1


def main(arguments: Sequence[str]) -> int:
    """Serves jobs from standard input until it ends."""
    return serve(ProfileRequest, lambda: _worker(msgspec.json.decode(arguments[0], type=ProfileSettings)))


@contextmanager
def _worker(settings: ProfileSettings) -> Iterator[ProfileWorker]:
    shared = [name for version in settings.versions for name in shared_names(version)]
    with hosting(settings) as host:
        yield ProfileWorker(host, shared if len(settings.versions) > 1 else [])


class ProfileWorker:
    """The jobs of one worker process."""

    def __init__(self, host: Host, shared: Sequence[str]) -> None:
        self.host, self.shared = host, shared
        self.order = random.Random(f"{host.settings.seed} {host.settings.worker}")  # noqa: S311 - no secret
        self.built: Built | None = None

    def answer(self, job: ProfileRequest) -> ProfileAnswer:
        """Does a job; what goes wrong in it becomes part of the answer."""
        try:
            return self._do(job)
        except StepbenchError as error:
            return ProfileAnswer(usage=str(error))
        except Exception as error:  # noqa: BLE001 - a specimen may raise anything
            return ProfileAnswer(failure=describe(error))

    def _do(self, job: ProfileRequest) -> ProfileAnswer:
        if job.do == "hello":
            apart = f"{', '.join(self.shared[:3])} is used by the instrument itself" if self.shared else None
            return ProfileAnswer(environment=environment(job.device), apart=apart)
        if job.do == "lines":
            return self._lines(job)
        if self.built is None:
            self.built = self.host.built(job.subjects[0])
        if job.do == "trace":
            operations = traced.trace(self.built.step, job.steps, Path(job.path))
            return ProfileAnswer(operations=operations, steps=job.steps)
        return ProfileAnswer(steps=self._busy(self.built, job.seconds))

    def _lines(self, job: ProfileRequest) -> ProfileAnswer:
        taken = take(self.host, job.subjects, job.steps, self.order)
        if len(self.host.sides) > 1:
            try:
                self.host.duet.refuse_leaks()
            except LeakFound as leak:
                return ProfileAnswer(apart=str(leak))
        return ProfileAnswer(
            taken=tuple(one if isinstance(one, TakenLines) else None for one in taken),
            failed=tuple(one if isinstance(one, Failed) else None for one in taken),
        )

    def _busy(self, built: Built, seconds: float) -> int:
        if not seconds and sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY)
        steps, begun = 0, now()
        while now() - begun < seconds:
            built.step.run(built.warmup_steps + steps)
            steps += 1
        if built.step.variant.device != "cpu":
            torch.cuda.synchronize(built.step.variant.device)
        return steps


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
