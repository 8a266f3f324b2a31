"""One replicate of a line profile: subjects built anew, and steps with and without the profiler in turn."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from bench.data.measurement import Caveat
from bench.data.metric import STEP
from bench.data.profile import Function, StepTimes
from bench.errors import InvalidVariant, StepbenchError
from bench.profile.booking import book
from bench.profile.functions import targets
from bench.profile.host import Built, Host, described
from bench.profile.messages import Failed, Subject, TakenLines
from bench.profile.recorder import Recorder, Times
from bench.run.build import close
from bench.run.clock import clock_for
from bench.run.load import describe
from bench.run.measure import Timed, phased, quiet_collector, spans
from bench.run.probe import repository


class Watched:
    """A subject while its replicate is taken."""

    def __init__(self, built: Built, recorder: Recorder, *, default: bool) -> None:
        self.built, self.recorder, self.default = built, recorder, default
        self.clock = clock_for(built.step.variant.device)
        self.index = built.warmup_steps
        self.timed: dict[bool, list[Timed]] = {False: [], True: []}
        self.lines: list[Times] = []

    def run(self, *, profiled: bool) -> None:
        """Runs one step with or without the profiler."""
        if profiled:
            with self.recorder.on():
                _, marks = phased(self.built.step, self.clock, self.index)
            self.lines.append(self.recorder.read())
        else:
            _, marks = phased(self.built.step, self.clock, self.index)
        self.timed[profiled].append((phased, marks))
        self.index += 1

    def times(self, worker: int) -> StepTimes:
        """Returns how long the steps took, by phase and as a whole."""
        plain, profiled = (
            {name: values for name, values in spans(self.built.step, self.clock, timed).items() if "." not in name}
            for timed in (self.timed[False], self.timed[True])
        )
        for found in (plain, profiled):
            found[STEP] = tuple(map(sum, zip(*found.values(), strict=True)))
        return StepTimes(worker=worker, warmup_steps=self.built.warmup_steps, plain=plain, profiled=profiled)


def take(host: Host, subjects: Sequence[Subject], steps: int, order: random.Random) -> tuple[TakenLines | Failed, ...]:
    """Takes a replicate of each subject; what cannot be built or run gives its message, and the others go on."""
    found: dict[int, TakenLines | Failed] = {}
    watched: dict[int, Watched] = {}
    for number in order.sample(range(len(subjects)), len(subjects)):
        try:
            watched[number] = _watched(host, subjects[number])
        except Exception as error:  # noqa: BLE001 - a specimen may raise anything, and only its own profile is lost
            found[number] = _failed(error)
    with quiet_collector():
        for _ in range(steps):
            turns = [(number, profiled) for number in watched for profiled in (False, True)]
            order.shuffle(turns)
            for number, profiled in turns:
                if number not in found:
                    try:
                        host.enter(watched[number].built)
                        watched[number].run(profiled=profiled)
                    except Exception as error:  # noqa: BLE001 - as above
                        found[number] = _failed(error)
    for number, one in watched.items():
        try:
            host.enter(one.built)
            if number not in found:
                found[number] = _finish(one, host)
            close(one.built.step)
        except Exception as error:  # noqa: BLE001 - as above
            found[number] = _failed(error)
    host.isolation.switch(None)
    return tuple(found[number] for number in range(len(subjects)))


def _watched(host: Host, subject: Subject) -> Watched:
    if subject.variant.compiled:
        raise InvalidVariant(f"{subject.variant}: lines of compiled code do not run; profile it without compiled")
    built = host.built(subject)
    found = targets(built.step, subject.functions, built.owned)
    # What is read first is nearest to what was imported.
    for target in found:
        host.sources.text(target.code().co_filename)
    return Watched(built, Recorder(found), default=not subject.functions)


def _failed(error: Exception) -> Failed:
    usage = isinstance(error, StepbenchError)
    return Failed(message=str(error) if usage else describe(error), usage=usage)


def _finish(watched: Watched, host: Host) -> TakenLines:
    """Books hooks, operations and events on the lines, and puts everything together."""
    built, codes = watched.built, watched.recorder.codes
    booked = book(built.step, codes, watched.index)
    functions: dict[tuple[str, int, str], Function] = {}
    caveats: list[Caveat] = []
    for code, target in codes.items():
        function = described(target, built, host.sources)
        taken = [times.get((code.co_filename, code.co_firstlineno), {}) for times in watched.lines]
        lines = [
            booked.line(code, line, [found.get(line.number, (0, 0.0)) for found in taken]) for line in function.lines
        ]
        functions.setdefault((function.file, function.first, function.name), replace(function, lines=tuple(lines)))
        caveats += host.sources.changed(code, function.file)
    if watched.default and all(function.role != "forward" for function in functions.values()):
        message = f"{type(built.step.module).__name__} has no forward in Python: none of its lines is shown"
        caveats.append(Caveat(code="no-forward", message=message))
    home = built.home()
    commit, dirty = repository(home) if home else (None, False)
    return TakenLines(
        functions=tuple(functions.values()),
        times=watched.times(host.settings.worker),
        events=booked.total,
        commit=commit,
        dirty=dirty,
        caveats=tuple(dict.fromkeys(caveats)),
    )
