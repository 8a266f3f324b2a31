"""What the profile commands have in common: which variants are meant, in which versions, and how they are taken."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from bench.data.duet import SIDES, SideName
from bench.data.profile import Profile
from bench.data.variant import Variant
from bench.errors import InvalidOption, ResultsUnwritable
from bench.profile.messages import Subject
from bench.profile.session import ProfilePlan, Session
from bench.run import snapshot
from bench.run.load import load
from bench.run.select import select
from bench.run.version import separate_because

from . import progress, versions

AT = "@@"


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of the commands that profile variants."""
    for option in reversed(
        (
            click.option("--batch", type=int, metavar="N", help="Batch size of every variant."),
            click.option("--threads", type=int, metavar="N", help="Intra-op threads of every variant.  [default: 1]"),
            click.option("--device", metavar="NAME", help="cpu, cuda or cuda:N, of every variant."),
            click.option(
                "--data", default="digits", show_default=True, metavar="SOURCE", help="As in stepbench measure."
            ),
            click.option("--seed", type=int, default=0, show_default=True, help="Seed of models and batches."),
            click.option(
                "--plugin",
                "plugins",
                multiple=True,
                metavar="FILE",
                help="A Python file with register(registry); repeatable.",
            ),
            click.option(
                "--repo", default=".", show_default=True, metavar="PATH", help="Where @@COMMIT looks for commits."
            ),
            click.option("--path", metavar="FOLDER", help="Import root inside --repo.  [default: src, or its top]"),
        )
    ):
        function = option(function)
    return function


def sampling(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of the commands that profile lines."""
    count = partial(click.option, type=click.IntRange(1), show_default=True, metavar="N")
    for option in (
        count("--workers", default=2, help="Processes that take turns."),
        count("--replicates", default=10, help="How often each variant is built anew; steps are spread over them."),
        count("--steps", default=200, help="Profiled steps of each variant."),
        click.option(
            "--function",
            "functions",
            multiple=True,
            metavar="NAME",
            help="Profile functions of this name in place of forward, step and hooks: Eva.step, or as much of its "
            "full name as it takes; repeatable.",
        ),
    ):
        function = option(function)
    return function


def subjects(texts: Sequence[str], given: dict[str, Any]) -> tuple[tuple[Subject, ...], dict[SideName, str]]:
    """Returns what is profiled, and the names of the versions that it takes, none for the installed code.

    With one `VARIANT@@COMMIT` among them, variants without a commit are those of the working tree.
    """
    axes = {axis: given[axis] for axis in ("batch", "threads", "device")}
    functions = tuple(given.get("functions", ()))
    if not any(AT in text for text in texts):
        registry = load(given["plugins"])
        # One by one: a variant may be compared with itself.
        found = [variant for text in texts for variant in select(registry, [text], None, axes)]
        return tuple(Subject(variant=variant, functions=functions) for variant in found), {}
    pairs = [(text.partition(AT)[0], text.partition(AT)[2] or versions.WORKING_TREE) for text in texts]
    names = list(dict.fromkeys(name for _, name in pairs))
    if len(names) > len(SIDES):
        raise InvalidOption(f"{', '.join(names)}: no more than two versions are profiled side by side; name two")
    sides: dict[str, SideName] = dict(zip(names, SIDES, strict=False))
    return tuple(
        Subject(variant=Variant.parse(text).with_axes(**axes), side=sides[name], functions=functions)
        for text, name in pairs
    ), {side: name for name, side in sides.items()}


def profiles(texts: Sequence[str], given: dict[str, Any]) -> tuple[list[Profile], bool]:
    """Profiles the lines of some variants; returns a profile for each, and whether somebody interrupted."""
    wanted, names = subjects(texts, given)
    plan = planned(wanted, names, given)
    with progress.bar(plan.steps) as show:
        if plan.separate is not None:
            plan = replace(plan, versions=tuple(versions.equipped(side, show) for side in plan.versions))
        show("starting workers")
        with Session(plan) as session:
            found = session.profiles(show)
    return found


def interrupted(found: Sequence[Profile]) -> int:
    """Says how much was finished when somebody interrupted, and returns the exit code."""
    count = min((len(profile.replicates) for profile in found), default=0)
    click.echo(f"interrupted: {count} replicates were finished and are kept", err=True)
    return 130


def only(variant: str, given: dict[str, Any]) -> ProfilePlan:
    """Returns the plan for one variant; raises InvalidOption for a selection of several."""
    wanted, names = subjects([variant], given)
    if len(wanted) != 1:
        raise InvalidOption(f"{variant}: {len(wanted)} variants; this is of one, name it in full")
    return planned(wanted, names, given)


def planned(wanted: tuple[Subject, ...], names: dict[SideName, str], given: dict[str, Any]) -> ProfilePlan:
    """Returns the plan of a session for some subjects and the versions they are taken in."""
    threads = sorted({subject.variant.threads for subject in wanted})
    if len(threads) > 1:
        raise InvalidOption(
            f"threads={' and '.join(map(str, threads))}: variants that are profiled together share their process's "
            "threads; give one --threads for all"
        )
    folder = snapshot.top_level(Path(given["repo"])) if names else Path()
    sides = tuple(versions.named(side, folder, name, given["path"], given["plugins"]) for side, name in names.items())
    return ProfilePlan(
        subjects=wanted,
        versions=sides,
        plugins=tuple(str(Path(file).resolve()) for file in given["plugins"]),
        separate=separate_because(*sides) if len(sides) == len(SIDES) else None,
        data=given["data"],
        seed=given["seed"],
        threads=threads[0],
        steps=given.get("steps", 0),
        replicates=given.get("replicates", 1),
        workers=given.get("workers", 1),
    )


def folder(given: str) -> Path:
    """Returns a folder for files, made where it is missing; raises ResultsUnwritable where it cannot be."""
    path = Path(given)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path):
            return path
    except OSError as error:
        raise ResultsUnwritable(f"--output {given}: {error.strerror}") from error


def file_name(variant: str) -> str:
    """Returns a file's name for a variant: `vit-eva-8bit-none`."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", variant).strip("-")
