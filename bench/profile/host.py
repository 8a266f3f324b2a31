"""Builds subjects in this process: variants of the installed code, or of one or two versions side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.data.profile import Function, Line
from bench.plugin import Registry, Sampler
from bench.profile.functions import Target, specimens_of
from bench.profile.messages import ProfileSettings, Subject
from bench.profile.source import Sources
from bench.run.build import Step, build, open_data
from bench.run.duet import Duet, warm_up
from bench.run.isolation import Isolation, Side, isolated
from bench.run.load import load


@dataclass(frozen=True, kw_only=True, eq=False)
class Built:
    """A subject, built and warm: its step, the side it belongs to, and where its code lies."""

    step: Step
    side: Side | None
    warmup_steps: int
    owned: Callable[[str], bool]
    root: Path

    def name_file(self, file: str) -> str:
        """Returns a file's name without where it happens to lie."""
        return displayed(file, self.root)

    def home(self) -> Path | None:
        """Returns the folder in which the model's code lies, None for code that lies nowhere."""
        file = getattr(sys.modules.get(type(self.step.module).__module__), "__file__", None) or ""
        return Path(file).parent if self.owned(file) and Path(file).is_file() else None


class Host:
    """The code that subjects are built from."""

    def __init__(self, settings: ProfileSettings, isolation: Isolation) -> None:
        self.settings, self.isolation = settings, isolation
        self.sources = Sources()
        self.sides = {side.name: side for side in isolation.sides}
        self.duet = Duet(isolation, data=settings.data, seed=settings.seed, worker=settings.worker)
        self._registry: Registry | None = None
        self._sampler: Sampler | None = None

    def built(self, subject: Subject) -> Built:
        """Builds a subject and warms it up; leaves its side active, so that its functions can be found."""
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
        return Built(step=step, side=side, warmup_steps=warmup, owned=owned, root=root)

    def enter(self, built: Built) -> None:
        """Makes a subject's side the one whose modules imports find."""
        self.isolation.switch(built.side)


@contextmanager
def hosting(settings: ProfileSettings) -> Iterator[Host]:
    """Gives a host, which holds its versions apart for a block."""
    with isolated([Side(version) for version in settings.versions]) as isolation:
        yield Host(settings, isolation)


def described(target: Target, built: Built, sources: Sources) -> Function:
    """Returns a function with the text of its lines, nothing measured yet."""
    code = target.code()
    first, texts = sources.block(code)
    return Function(
        name=target.name,
        role=target.role,
        file=built.name_file(code.co_filename),
        sha256=sources.text(code.co_filename).sha256,
        first=first,
        lines=tuple(Line(number=first + index, text=text) for index, text in enumerate(texts)),
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
