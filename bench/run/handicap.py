"""A version that is slower by a known amount of work: what calibration measures versions against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench.data.duet import SIDES, Version
from bench.run import snapshot
from bench.run.version import version

# One unit of work is a product of 48x48 matrices: some microseconds of arithmetic, and no memory to speak of.
SIZE = 48
SLOWED = f'''
def slowed(optimizer):
    """Gives an optimizer's step EXTRA units of work more."""
    step, work = optimizer.step, torch.full(({SIZE}, {SIZE}), 1.0 / {SIZE})

    def slower_step(closure=None):
        for _ in range(EXTRA):
            torch.mm(work, work)
        return step(closure)

    optimizer.step = slower_step
    return optimizer
'''
_SOURCE = '''"""The plug-ins of a version, whose optimizers do {extra} more units of work in each step."""

import importlib

import torch

from bench.plugin import Registry

EXTRA = {extra}


def register(registry):
    inner = Registry()
    for name in {plugins!r}:
        importlib.import_module(name).register(inner)
    for kind in ("model", "quantization", "data"):
        for part in inner.parts(kind):
            getattr(registry, kind)(part.name, **part.options)(part.factory)
    for part in inner.parts("optimizer"):
        registry.optimizer(part.name)(lambda module, make=part.factory: slowed(make(module)))
'''


def committed_twice(extra: int, folder: Path) -> tuple[Version, Version]:
    """Returns the committed state of the current repository as base, and as a head that does extra work."""
    repo = snapshot.top_level(Path())
    base, head = (version(side, snapshot.of_commit(repo, "HEAD", side), repo, None, ()) for side in SIDES)
    return handicapped(base, 0, folder), handicapped(head, extra, folder)


def handicapped(side: Version, extra: int, folder: Path) -> Version:
    """Returns a version whose optimizers do extra work in each step; its plug-in file is written to a folder.

    Both sides of a trial come by this door, the one that does nothing extra too, so that they differ in a number only.
    """
    path = folder / f"{side.side}_{extra}.py"
    source = _SOURCE.format(extra=extra, plugins=_modules(side.plugins))
    path.write_text(f"{source}\n{SLOWED}", encoding="utf-8")
    return replace(side, plugins=(str(path),))


def _modules(plugins: Sequence[str]) -> list[str]:
    return [plugin for plugin in plugins if not plugin.endswith(".py")]
