"""What `stepbench deploy` and `stepbench quantize --deploy` do with a model, and how they show it."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table

from bench.data.variant import Variant
from bench.errors import InvalidOption
from bench.plugin import Registry
from bench.run import clock
from bench.run.build import build, open_data
from bench.run.measure import quiet_collector
from lowbit.deploy import check_text, compile_text, timing
from lowbit.deploy import document as documents
from lowbit.deploy.check import PASS, CheckReport, check
from lowbit.deploy.compile import Built, UnknownLevel, check_levels
from lowbit.deploy.compile import build as make
from lowbit.deploy.performance import Performance, performance
from lowbit.deploy.picture import graph_svg
from lowbit.deploy.trace import trace
from lowbit.deploy.words import notes, summary

from . import output, perf_run, perf_show
from .progress import Show


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model in eval mode: its name, batches of its one input, and a variant of its batch, threads and device."""

    name: str
    module: torch.nn.Module
    batches: tuple[Any, ...]
    variant: Variant


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be done: the check, levels, timing for `budget` seconds, the picture; and the folder for the rest."""

    checks: bool
    levels: tuple[str, ...]
    budget: float
    picture: Path | None
    folder: Path | None


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What was found; what was not asked for is None or empty. `svg` is the picture."""

    name: str
    check: CheckReport | None
    levels: tuple[Built, ...]
    performance: Performance | None
    svg: str | None


def levels(text: str) -> tuple[str, ...]:
    """Returns levels that were written with commas; raises InvalidOption for one that is none."""
    found = tuple(dict.fromkeys(name for word in text.split(",") if (name := word.strip())))
    try:
        check_levels(found)
    except UnknownLevel as error:
        raise InvalidOption(f"--levels {text}: {error}") from error
    return found


def subject(registry: Registry, variant: Variant, *, data: str, seed: int) -> Subject:
    """Builds a variant as a model that is deployed."""
    torch.set_num_threads(variant.threads)
    step = build(registry, variant, data=open_data(registry, data), seed=seed)
    return Subject(
        name=str(variant), module=step.module, batches=tuple(inputs for inputs, _ in step.batches), variant=variant
    )


def deployment(of: Subject, want: Wanted, show: Show) -> Deployment:
    """Does what is wanted, and writes it."""
    report, made, measured, svg = None, [], None, None
    if want.checks:
        show("checking")
        report = check(of.module, (of.batches[0],), name=of.name)
    if want.levels:
        assert want.folder is not None
        made = make(
            of.module,
            (of.batches[0],),
            want.folder,
            clock=clock.now,
            levels=want.levels,
            note=lambda name: show(f"making {name}"),
        )
    if want.budget or want.picture is not None:
        traced = trace(of.module, (of.batches[0],))
        times = None
        if want.budget:
            show("timing")
            measured = _measured(of, traced, want.budget)
            times = {row.cost.place: row.time.center for row in measured.rows if row.time is not None}
        svg = graph_svg(traced, times, name=of.name)
    found = Deployment(name=of.name, check=report, levels=tuple(made), performance=measured, svg=svg)
    versions = perf_run.versions(of.variant)
    _write(found, want, lambda each: perf_show.page([(each, traced)], perf_run.about(versions)), versions)
    return found


def show(found: Deployment, want: Wanted) -> None:
    """Prints what was found: the check, the levels, and the figures of the whole."""
    console = Console(file=sys.stdout, highlight=False, no_color=not output.color(), width=output.width())
    if found.check is not None:
        style = None if found.check.passes else "yellow"
        console.print(check_text.text(found.check), style=style, markup=False)
    if found.levels:
        table = Table(box=None, pad_edge=False)
        for name in compile_text.HEADINGS:
            table.add_column(name, overflow="fold")
        for row in compile_text.cells(found.levels):
            table.add_row(*row)
        console.print(table)
        console.print(compile_text.legend(), style="dim", markup=False)
        for note in compile_text.notes(found.levels):
            console.print(note, style="dim", markup=False)
    console.print(_last(found))
    for number, note in enumerate(notes(found.performance) if found.performance is not None else (), 1):
        console.print(f"[{number}] {note}", style="yellow", markup=False)
    if want.folder is not None or want.picture is not None:
        click.echo(f"stored: {want.folder or want.picture}", err=True)


def _last(found: Deployment) -> Table:
    """Returns the table that sums it all up."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("model", found.name)
    if found.check is not None:
        missing = ", ".join(ability.name for ability in found.check.abilities if not ability.able)
        table.add_row("check", PASS if found.check.passes else f"cannot: {missing}")
    if found.levels:
        there = ", ".join(row.level for row in found.levels if row.is_made)
        absent = ", ".join(row.level for row in found.levels if not row.is_made)
        table.add_row("levels", (there or "none") + (f"; not {absent}" if absent else ""))
    for name, text in summary(found.performance) if found.performance is not None else ():
        table.add_row(name, text)
    return table


def _measured(of: Subject, traced: Any, budget: float) -> Performance:
    machine = perf_run.machine(of.variant, fresh=False)
    taken = timing.Subject(module=of.module, batches=of.batches)
    with quiet_collector():
        (times,) = timing.take([taken], clock.clock_for(of.variant.device), budget, random.Random(0))  # noqa: S311 - of turns
    return performance(of.name, trace=traced, frames=of.variant.batch, times=times, machine=machine, on=None, peak=None)


def _write(found: Deployment, want: Wanted, page: Callable[[Performance], str], versions: dict[str, str]) -> None:
    files: dict[str, str] = {}
    if want.picture is not None and found.svg is not None:
        files[str(want.picture)] = found.svg
    if want.folder is not None:
        for name, content in _texts(found, page, versions):
            files[str(want.folder / name)] = content
    for path, content in files.items():
        output.write_all({"file": path}, {"file": lambda given: given}, content)


def _texts(
    found: Deployment, page: Callable[[Performance], str], versions: dict[str, str]
) -> Sequence[tuple[str, str]]:
    made = []
    if found.check is not None:
        made.append(("check.txt", check_text.text(found.check)))
        made.append(("check.json", json.dumps(check_text.document(found.check), indent=1)))
    if found.levels:
        made.append(("levels.txt", compile_text.text(found.name, found.levels)))
        made.append(("levels.json", json.dumps(compile_text.document(found.name, found.levels), indent=1)))
    if found.performance is not None:
        document = documents.document([found.performance], versions)
        made.append(("performance.json", json.dumps(document, indent=1)))
        made.append(("performance.html", page(found.performance)))
    return made
