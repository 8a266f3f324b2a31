"""The schedule of a line profile: which worker takes which replicate, and what they add up to."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Self

import msgspec

from bench.data.duet import Version
from bench.data.environment import Environment
from bench.data.profile import Function, Line, Operation, Profile
from bench.errors import StepbenchError, WorkerLost
from bench.profile.messages import ProfileAnswer, ProfileRequest, ProfileSettings, Subject, TakenLines
from bench.run.process import WorkerProcess

WORKER = "bench.profile.worker"
WAIT_POLICY = "passive"
# A replicate of several slow variants is one answer.
PATIENCE_S = 900.0
Progress = Callable[[str, int], None]


@dataclass(frozen=True, kw_only=True)
class ProfilePlan:
    """What is profiled and how long; `separate` says why versions cannot share a process, where that is known."""

    subjects: tuple[Subject, ...]
    versions: tuple[Version, ...] = ()
    plugins: tuple[str, ...] = ()
    separate: str | None = None
    data: str = "digits"
    seed: int = 0
    threads: int = 1
    steps: int = 200
    replicates: int = 10
    workers: int = 2


class Session:
    """Workers that take replicates of a plan's subjects in turn; those that may share a process do."""

    def __init__(self, plan: ProfilePlan) -> None:
        self.plan = plan
        self.apart = plan.separate
        self.environment: Environment | None = None
        self._stack = ExitStack()
        self._groups: list[tuple[list[int], list[WorkerProcess[ProfileAnswer]]]] = []
        self._started = 0

    def __enter__(self) -> Self:
        """Starts the workers; raises StepbenchError where one cannot start."""
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all workers."""
        self._stack.close()

    def start(self, versions: tuple[Version, ...]) -> WorkerProcess[ProfileAnswer]:
        """Starts a worker for some versions, or for the installed code; it ends with this session."""
        worker = started(self.plan, self._started, versions)
        self._started += 1
        self._stack.callback(worker.stop)
        return worker

    def _open(self) -> None:
        everyone = list(range(len(self.plan.subjects)))
        if self.apart is None:
            workers = [self.start(self.plan.versions) for _ in range(self.plan.workers)]
            self._groups = [(everyone, workers)]
            self.apart = self._greet(workers)
        if self.apart is not None:
            self._groups = []
            for side in self.plan.versions:
                own = [number for number in everyone if self.plan.subjects[number].side == side.side]
                workers = [self.start((side,)) for _ in range(self.plan.workers)]
                self._greet(workers)
                self._groups.append((own, workers))

    def _greet(self, workers: Sequence[WorkerProcess[ProfileAnswer]]) -> str | None:
        for worker in workers:
            worker.send(ProfileRequest(do="hello", device=self.plan.subjects[0].variant.device))
        answers = [worker.receive() for worker in workers]
        wrong = next((answer.usage or answer.failure for answer in answers if answer.usage or answer.failure), None)
        if wrong:
            raise StepbenchError(wrong)
        self.environment = answers[0].environment
        return answers[0].apart

    def profiles(self, progress: Progress) -> tuple[list[Profile], bool]:
        """Takes all replicates; returns a profile for each subject, and whether somebody interrupted.

        A profile holds the replicates that were finished; one whose subject broke says so and has no lines.
        """
        gathered: list[list[TakenLines | str]] = [[] for _ in self.plan.subjects]
        interrupted = False
        try:
            self._gather(gathered, progress)
        except KeyboardInterrupt:
            interrupted = True
        session, created = secrets.token_hex(4), dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        return [self._profile(number, taken, session, created) for number, taken in enumerate(gathered)], interrupted

    def _gather(self, gathered: list[list[TakenLines | str]], progress: Progress) -> None:
        replicates = min(self.plan.replicates, self.plan.steps)
        done, index = 0, 0
        while index < replicates:
            steps = (index + 1) * self.plan.steps // replicates - done
            found: dict[int, TakenLines | str] = {}
            for members, workers in self._groups:
                subjects = tuple(self.plan.subjects[number] for number in members)
                answer = self._ask(workers, index, subjects, steps)
                if answer.apart is not None:
                    self.apart, found = answer.apart, {}
                    self._open()
                    break
                found |= dict(zip(members, answer.taken or [answer.failure or "no answer"] * len(members), strict=True))
            if not found:
                continue
            for number, taken in found.items():
                gathered[number].append(taken)
            done, index = done + steps, index + 1
            progress(f"replicate {index} of {replicates}", done)

    def _ask(
        self, workers: list[WorkerProcess[ProfileAnswer]], index: int, subjects: tuple[Subject, ...], steps: int
    ) -> ProfileAnswer:
        slot = index % len(workers)
        try:
            return workers[slot].ask(
                ProfileRequest(do="lines", subjects=subjects, index=index, steps=steps), PATIENCE_S
            )
        except WorkerLost as lost:
            sides = {subject.side for subject in subjects}
            workers[slot] = self.start(tuple(version for version in self.plan.versions if version.side in sides))
            return ProfileAnswer(failure=str(lost))

    def _profile(self, number: int, gathered: list[TakenLines | str], session: str, created: str) -> Profile:
        subject = self.plan.subjects[number]
        version = next((version for version in self.plan.versions if version.side == subject.side), None)
        assert self.environment is not None
        taken = [one for one in gathered if isinstance(one, TakenLines)]
        return Profile(
            session=session if self.apart is None else f"{session}-{subject.side}",
            created=created,
            variant=subject.variant,
            version=version.name if version else None,
            commit=version.commit if version else self.environment.commit,
            dirty=version.dirty if version else self.environment.dirty,
            environment=self.environment,
            replicates=tuple(one.times for one in taken),
            events=max((one.events for one in taken), default=0),
            functions=merged([one.functions for one in taken]),
            caveats=tuple(dict.fromkeys(caveat for one in taken for caveat in one.caveats)),
            failure=next((one for one in gathered if isinstance(one, str)), None),
        )


def started(plan: ProfilePlan, index: int, versions: tuple[Version, ...]) -> WorkerProcess[ProfileAnswer]:
    """Starts a worker; who starts it ends it."""
    settings = ProfileSettings(
        worker=index, data=plan.data, seed=plan.seed, versions=versions, plugins=() if versions else plan.plugins
    )
    return WorkerProcess(
        index,
        plan.threads,
        WAIT_POLICY,
        module=WORKER,
        arguments=[msgspec.json.encode(settings).decode()],
        answers=ProfileAnswer,
        python=versions[0].python if versions else None,
    )


def merged(taken: Sequence[tuple[Function, ...]]) -> tuple[Function, ...]:
    """Puts the replicates of functions together; one that some replicate did not see has no seconds there."""
    known = {(function.file, function.first): function for functions in taken for function in functions}
    found = []
    for place, function in known.items():
        same = [next((one for one in functions if (one.file, one.first) == place), None) for functions in taken]
        lines = [
            _line(line, [one.lines[index] if one else None for one in same])
            for index, line in enumerate(function.lines)
        ]
        found.append(replace(function, lines=tuple(lines)))
    return tuple(found)


def _line(line: Line, taken: Sequence[Line | None]) -> Line:
    have = [one for one in taken if one is not None]
    seconds = tuple(one.seconds[0] if one and one.seconds else () for one in taken)
    names = dict.fromkeys(name for one in have for name in one.hooks)
    operations = dict.fromkeys(operation.name for one in have for operation in one.operations)
    return replace(
        line,
        hits=sum(one.hits for one in have),
        seconds=seconds if any(seconds) else (),
        events=max(one.events for one in have),
        hooks={name: sum(one.hooks.get(name, 0.0) for one in have) / len(have) for name in names},
        operations=tuple(
            _mean([op for one in have for op in one.operations if op.name == name], len(have)) for name in operations
        ),
    )


def _mean(found: Sequence[Operation], count: int) -> Operation:
    return Operation(
        name=found[0].name,
        count=sum(one.count for one in found) / count,
        seconds=sum(one.seconds for one in found) / count,
    )
