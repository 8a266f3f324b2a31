"""The schedule of a line profile: which worker takes which replicate, and what they add up to."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from bench.data.duet import Version
from bench.data.environment import Environment
from bench.data.profile import Profile
from bench.errors import InvalidOption, StepbenchError, WorkerLost
from bench.profile.merge import merged, merged_events
from bench.profile.messages import Failed, ProfileAnswer, ProfileRequest, ProfileSettings, Subject, TakenLines
from bench.run.process import WorkerProcess, Workers

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


class Group:
    """Subjects that are profiled together, step by step in turn, and the workers that take turns at it."""

    def __init__(self, members: Sequence[int], versions: tuple[Version, ...]) -> None:
        self.members, self.versions = list(members), versions
        self.workers: list[WorkerProcess[ProfileAnswer]] = []


class Session(Workers):
    """Workers that take replicates of a plan's subjects in turn; those that may share a process do."""

    def __init__(self, plan: ProfilePlan) -> None:
        super().__init__()
        self.plan = plan
        self.apart = plan.separate
        self.environment: Environment | None = None
        self._groups: list[Group] = []
        self._started = 0
        self._taken: list[list[TakenLines]] = [[] for _ in plan.subjects]
        self._failed: dict[int, Failed] = {}

    def _open(self) -> None:
        self._stack.close()
        everyone = range(len(self.plan.subjects))
        if self.apart is None:
            self._groups = [Group(everyone, self.plan.versions)]
            self.apart = self._greet(self._groups[0])
        if self.apart is not None:
            self._stack.close()
            sides = [
                (side, [n for n in everyone if self.plan.subjects[n].side == side.side]) for side in self.plan.versions
            ]
            self._groups = [Group(members, (side,)) for side, members in sides]
            for group in self._groups:
                self._greet(group)

    def _start(self, group: Group) -> WorkerProcess[ProfileAnswer]:
        worker = started(self.plan, self._started, group.versions)
        self._started += 1
        self._stack.callback(worker.stop)
        return worker

    def _greet(self, group: Group) -> str | None:
        group.workers = [self._start(group) for _ in range(self.plan.workers)]
        for worker in group.workers:
            worker.send(ProfileRequest(do="hello", device=self.plan.subjects[0].variant.device))
        answers = [worker.receive() for worker in group.workers]
        wrong = next((answer.usage or answer.failure for answer in answers if answer.usage or answer.failure), None)
        if wrong:
            raise StepbenchError(wrong)
        self.environment = answers[0].environment
        return answers[0].apart

    def profiles(self, progress: Progress) -> tuple[list[Profile], bool]:
        """Takes all replicates; returns a profile for each subject, and whether somebody interrupted.

        A profile holds the replicates that were finished. One whose subject broke says so, and is not taken again.
        Raises InvalidOption with the first message where nothing but mistakes of the user came of the first replicate.
        """
        interrupted = False
        try:
            self._gather(progress)
        except KeyboardInterrupt:
            interrupted = True
        session, created = secrets.token_hex(4), dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        return [self._profile(number, session, created) for number in range(len(self.plan.subjects))], interrupted

    def _gather(self, progress: Progress) -> None:
        replicates = min(self.plan.replicates, self.plan.steps)
        done = index = 0
        while index < replicates and len(self._failed) < len(self.plan.subjects):
            steps = (index + 1) * self.plan.steps // replicates - done
            found = self._replicate(index, steps)
            if found is None:
                # They cannot share a process after all: what was taken so far was taken in one.
                self._taken, self._failed, done, index = [[] for _ in self.plan.subjects], {}, 0, 0
                self._open()
                continue
            for number, taken in found.items():
                self._taken[number].append(taken)
            done, index = done + steps, index + 1
            progress(f"replicate {index} of {replicates}", done)
        if self._failed and not any(self._taken) and all(failed.usage for failed in self._failed.values()):
            raise InvalidOption("; ".join(dict.fromkeys(failed.message for failed in self._failed.values())))

    def _replicate(self, index: int, steps: int) -> dict[int, TakenLines] | None:
        found: dict[int, TakenLines] = {}
        for group in self._groups:
            members = [number for number in group.members if number not in self._failed]
            slot = index % len(group.workers)
            try:
                answers = [(members, self._ask(group, slot, members, steps))] if members else []
            except WorkerLost:
                # One of them took the process down: one by one, to know which.
                answers = [([number], self._alone(group, slot, number, steps)) for number in members]
            for asked, answer in answers:
                if answer.apart is not None:
                    self.apart = answer.apart
                    return None
                for place, number in enumerate(asked):
                    taken = answer.taken[place] if answer.taken else None
                    failed = (
                        answer.failed[place] if answer.failed else Failed(message=answer.failure or answer.usage or "")
                    )
                    if taken is not None:
                        found[number] = taken
                    elif failed is not None:
                        self._failed[number] = failed
        return found

    def _ask(self, group: Group, slot: int, members: Sequence[int], steps: int) -> ProfileAnswer:
        subjects = tuple(self.plan.subjects[number] for number in members)
        try:
            return group.workers[slot].ask(ProfileRequest(do="lines", subjects=subjects, steps=steps), PATIENCE_S)
        except WorkerLost:
            group.workers[slot] = self._start(group)
            raise

    def _alone(self, group: Group, slot: int, number: int, steps: int) -> ProfileAnswer:
        try:
            return self._ask(group, slot, [number], steps)
        except WorkerLost as lost:
            return ProfileAnswer(failure=str(lost))

    def _profile(self, number: int, session: str, created: str) -> Profile:
        subject, taken = self.plan.subjects[number], self._taken[number]
        version = next((version for version in self.plan.versions if version.side == subject.side), None)
        assert self.environment is not None
        failed = self._failed.get(number)
        return Profile(
            session=session if self.apart is None else f"{session}-{subject.side}",
            created=created,
            variant=subject.variant,
            version=version.name if version else None,
            commit=version.commit if version else next((one.commit for one in taken), None),
            dirty=version.dirty if version else any(one.dirty for one in taken),
            environment=self.environment,
            replicates=tuple(one.times for one in taken),
            events=merged_events([one.events for one in taken]),
            functions=merged([one.functions for one in taken]),
            caveats=tuple(dict.fromkeys(caveat for one in taken for caveat in one.caveats)),
            failure=failed.message if failed else None,
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
