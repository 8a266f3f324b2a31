"""One replicate of a line profile: subjects built anew, and steps with and without the profiler in turn."""

from __future__ import annotations

import random
import statistics
from collections.abc import Collection, Sequence
from dataclasses import replace
from types import CodeType

from bench.data.metric import STEP
from bench.data.profile import Line, Operation, StepTimes
from bench.errors import StepbenchError
from bench.profile.attribution import LineOperations, Spot, count_events, timed_hooks
from bench.profile.host import Built, Host, changed_since, describe_function
from bench.profile.messages import Subject, TakenLines
from bench.profile.recorder import Times
from bench.run.build import close
from bench.run.clock import clock_for
from bench.run.load import describe
from bench.run.measure import Timed, phased, quiet_collector, spans

# Steps in which hooks, and others in which operations are booked on lines; none of them is one whose lines are timed.
BOOKED_STEPS = 2


class Watched:
    """A subject while its replicate is taken."""

    def __init__(self, built: Built) -> None:
        self.built = built
        self.clock = clock_for(built.step.variant.device)
        self.index = built.warmup_steps
        self.timed: dict[bool, list[Timed]] = {False: [], True: []}
        self.lines: list[Times] = []

    def run(self, *, profiled: bool) -> None:
        """Runs one step with or without the profiler."""
        step, recorder = self.built.step, self.built.recorder
        if profiled:
            with recorder.on():
                _, marks = phased(step, self.clock, self.index)
            self.lines.append(recorder.read())
        else:
            _, marks = phased(step, self.clock, self.index)
        self.timed[profiled].append((phased, marks))
        self.index += 1

    def times(self, worker: int) -> StepTimes:
        """Returns how long the steps took."""
        plain, profiled = (
            {name: values for name, values in spans(self.built.step, self.clock, timed).items() if "." not in name}
            for timed in (self.timed[False], self.timed[True])
        )
        for found in (plain, profiled):
            found[STEP] = tuple(map(sum, zip(*found.values(), strict=True)))
        return StepTimes(worker=worker, warmup_steps=self.built.warmup_steps, plain=plain, profiled=profiled)


def take(
    host: Host, subjects: Sequence[Subject], steps: int, order: random.Random, *, first: bool
) -> tuple[TakenLines | str, ...]:
    """Takes a replicate of each subject; what cannot be built or run gives its message, and the others go on."""
    found: dict[int, TakenLines | str] = {}
    watched: dict[int, Watched] = {}
    for number in order.sample(range(len(subjects)), len(subjects)):
        try:
            watched[number] = Watched(host.built(subjects[number]))
        except Exception as error:  # noqa: BLE001 - a specimen may raise anything, and only its own profile is lost
            found[number] = _message(error)
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
                        found[number] = _message(error)
    for number, one in watched.items():
        try:
            host.enter(one.built)
            if number not in found:
                found[number] = _finish(one, host, first=first)
            close(one.built.step)
        except Exception as error:  # noqa: BLE001 - as above
            found[number] = _message(error)
    host.isolation.switch(None)
    return tuple(found[number] for number in range(len(subjects)))


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, StepbenchError) else describe(error)


def _finish(watched: Watched, host: Host, *, first: bool) -> TakenLines:
    """Books hooks, operations and, in the first replicate, events on the lines, and puts everything together."""
    built = watched.built
    step = built.step
    codes = {target.function.__code__: target for target in built.targets}
    hooks = _hooks(built, codes, watched.index)
    with LineOperations(codes) as operations:
        for number in range(BOOKED_STEPS):
            step.run(watched.index + number)
    events, total = count_events(codes, lambda: step.run(watched.index)) if first else ({}, 0)
    functions = []
    for code, target in codes.items():
        place = (code.co_filename, code.co_firstlineno)
        function = describe_function(target, built.name_file)
        lines = []
        for line in function.lines:
            spot = (code, line.number)
            found = [times.get(place, {}).get(line.number, (0, 0.0)) for times in watched.lines]
            hits = sum(hit for hit, _ in found)
            lines.append(
                Line(
                    number=line.number,
                    text=line.text,
                    hits=hits,
                    seconds=(tuple(round(seconds, 9) for _, seconds in found),) if hits else (),
                    events=events.get(spot, 0),
                    hooks=hooks.get(spot, {}),
                    operations=_operations(operations.found.get(spot, {})),
                )
            )
        functions.append(replace(function, lines=tuple(lines)))
    return TakenLines(
        functions=tuple(functions),
        times=watched.times(host.settings.worker),
        events=total,
        caveats=changed_since(built, host.begun),
    )


def _hooks(built: Built, codes: Collection[CodeType], index: int) -> dict[Spot, dict[str, float]]:
    """Returns shares of the time of lines, by hook, from steps of their own."""
    by_step: list[dict[Spot, dict[str, float]]] = []
    for number in range(BOOKED_STEPS):
        with timed_hooks(built.step.module, codes) as seconds, built.recorder.on():
            built.step.run(index + number)
        times = built.recorder.read()
        by_step.append(
            {
                (code, line): {name: min(1.0, value / times[place][line][1]) for name, value in found.items()}
                for (code, line), found in seconds.items()
                if times.get(place := (code.co_filename, code.co_firstlineno), {}).get(line, (0, 0.0))[1] > 0
            }
        )
    return {
        spot: {
            name: statistics.fmean(found.get(spot, {}).get(name, 0.0) for found in by_step) for name in by_step[0][spot]
        }
        for spot in by_step[0]
    }


def _operations(found: dict[str, tuple[int, float]]) -> tuple[Operation, ...]:
    return tuple(
        Operation(name=name, count=count / BOOKED_STEPS, seconds=round(seconds / BOOKED_STEPS, 9))
        for name, (count, seconds) in found.items()
    )
