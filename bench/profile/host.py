"""Builds subjects in this process: variants of the installed code, or of one or two versions side by side."""

from __future__ import annotations

import datetime as dt
import hashlib
import inspect
import linecache
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.data.measurement import Caveat
from bench.data.profile import Function, Line
from bench.errors import InvalidVariant
from bench.plugin import Registry, Sampler
from bench.profile.functions import Target, specimens_of, targets
from bench.profile.messages import ProfileSettings, Subject
from bench.profile.recorder import Recorder
from bench.run.build import Step, build, open_data
from bench.run.duet import Duet, warm_up
from bench.run.isolation import Isolation, Side, isolated
from bench.run.load import load


@dataclass(frozen=True, kw_only=True, eq=False)
class Built:
    """A subject, built and warm: its step, the side it belongs to, and the functions that are watched."""

    step: Step
    side: Side | None
    warmup_steps: int
    targets: Sequence[Target]
    recorder: Recorder
    name_file: Callable[[str], str]


class Host:
    """The code that subjects are built from."""

    def __init__(self, settings: ProfileSettings, isolation: Isolation) -> None:
        self.settings, self.isolation = settings, isolation
        self.begun = dt.datetime.now(dt.UTC).timestamp()
        self.sides = {side.name: side for side in isolation.sides}
        self.duet = Duet(isolation, data=settings.data, seed=settings.seed, worker=settings.worker)
        self._registry: Registry | None = None
        self._sampler: Sampler | None = None

    def built(self, subject: Subject) -> Built:
        """Builds a subject and warms it up; leaves its side active, so that its functions can be found."""
        if subject.variant.compiled:
            raise InvalidVariant(f"{subject.variant}: lines of compiled code do not run; profile it without compiled")
        side = self.sides[subject.side] if subject.side else None
        self.isolation.switch(None)
        if side is None:
            registry = self._registry = self._registry or load(self.settings.plugins)
            self._sampler = self._sampler or open_data(registry, self.settings.data)
            step = build(registry, subject.variant, data=self._sampler, seed=self.settings.seed)
            owned, root = specimens_of(registry), Path()
        else:
            step = self.duet.build(side, subject.variant)
            owned, root = side.owns, Path(side.version.root)
        self.isolation.switch(side)
        warmup, _, _ = warm_up(step)
        found = targets(step, subject.functions, owned)
        return Built(
            step=step,
            side=side,
            warmup_steps=warmup,
            targets=found,
            recorder=Recorder([target.function for target in found]),
            name_file=lambda file: displayed(file, root),
        )

    def enter(self, built: Built) -> None:
        """Makes a subject's side the one whose modules imports find."""
        self.isolation.switch(built.side)


@contextmanager
def hosting(settings: ProfileSettings) -> Iterator[Host]:
    """Gives a host, which holds its versions apart for a block."""
    with isolated([Side(version) for version in settings.versions]) as isolation:
        yield Host(settings, isolation)


def changed_since(built: Built, begun: float) -> tuple[Caveat, ...]:
    """Returns a caveat for files of functions that were written after a moment: their text is not what runs."""
    files = {target.function.__code__.co_filename for target in built.targets}
    late = sorted(file for file in files if Path(file).is_file() and Path(file).stat().st_mtime > begun)
    return tuple(
        Caveat(
            code="source-changed",
            message=f"{built.name_file(file)} was changed while it was profiled: what ran may be other lines",
        )
        for file in late
    )


def describe_function(target: Target, name_file: Callable[[str], str]) -> Function:
    """Returns a function with the text of its lines, nothing measured yet."""
    code = target.function.__code__
    try:
        texts, first = inspect.getsourcelines(code)
    except (OSError, TypeError):
        last = max((line for *_, line in code.co_lines() if line is not None), default=code.co_firstlineno)
        first, texts = code.co_firstlineno, ["<source not available>\n"] * (last - code.co_firstlineno + 1)
    whole = "".join(linecache.getlines(code.co_filename)) or "".join(texts)
    return Function(
        name=target.name,
        role=target.role,
        file=name_file(code.co_filename),
        sha256=hashlib.sha256(whole.encode()).hexdigest(),
        first=first,
        lines=tuple(Line(number=first + index, text=text.rstrip("\r\n")) for index, text in enumerate(texts)),
    )


def displayed(file: str, root: Path) -> str:
    """Returns a file's name without where it happens to lie: from its root, or from where its package lies."""
    path = Path(file)
    top = path.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    if path.is_relative_to(root.resolve()):
        return str(path.relative_to(root.resolve()))
    return str(path.relative_to(top)) if top != path.parent else file
