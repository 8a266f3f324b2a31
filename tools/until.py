"""`stepbench measure --until`: train variants to a target instead of timing their phases."""

from __future__ import annotations

import datetime as dt
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench.analyze.target import TargetTable, tables
from bench.data.target import RATES, Target, TargetProtocol, TargetRecord
from bench.data.variant import Variant
from bench.errors import InvalidOption
from bench.report.target import document, markdown, terminal
from bench.run import target
from bench.store import targets
from bench.store.jsonl import RecordFile

from . import output, progress

DEFAULT_RESULTS = "results/target"
# What only a target has, and what it has no use for.
OWN = ("tuning_seeds", "seeds", "limit_steps", "every", "rates")
FOREIGN = ("budget", "workers", "format")


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of a target."""
    for option in (
        click.option(
            "--rates",
            metavar="LR,LR,...",
            help=f"Learning rates that every variant tries.  [default: {','.join(f'{rate:g}' for rate in RATES)}]",
        ),
        click.option("--every", type=int, metavar="N", help="Steps between two looks.  [default: 5]"),
        click.option("--limit-steps", type=int, metavar="N", help="Steps until it is given up.  [default: 500]"),
        click.option("--tuning-seeds", type=int, metavar="N", help="Seeds that rates are chosen by.  [default: 1]"),
        click.option("--seeds", type=int, metavar="N", help="Trainings that are measured.  [default: 5]"),
        click.option(
            "--until",
            metavar="accuracy=SHARE",
            help="Train to this accuracy on held-out pictures, and show how many steps and seconds it took.",
        ),
    ):
        function = option(function)
    return function


def protocol(given: dict[str, Any]) -> TargetProtocol | None:
    """Returns how to train to the target that was asked for, None without one.

    Raises InvalidOption for options that do not go together.
    """
    if given["until"] is None:
        unused = [name for name in OWN if given[name] is not None]
        if unused:
            raise InvalidOption(f"--{unused[0].replace('_', '-')}: belongs to --until accuracy=SHARE")
        return None
    source = click.get_current_context().get_parameter_source
    wrong = [name for name in FOREIGN if source(name) is ParameterSource.COMMANDLINE]
    if wrong:
        raise InvalidOption(
            f"--{wrong[0]}: has no meaning with --until, which trains as long as it takes; leave it away"
        )
    chosen = {name: given[name] for name in ("tuning_seeds", "seeds", "every") if given[name] is not None}
    if given["limit_steps"] is not None:
        chosen["limit"] = given["limit_steps"]
    if given["rates"] is not None:
        chosen["rates"] = _rates(given["rates"])
    return TargetProtocol(target=Target.parse(given["until"]), data=given["data"], seed=given["seed"], **chosen)


def train(rules: TargetProtocol, variants: Sequence[Variant], given: dict[str, Any], plugins: Sequence[str]) -> int:
    """Trains, stores every training, shows the tables, and returns the exit code."""
    target.check(variants)
    output.check(given)
    created = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    run = target.TargetRun(id=secrets.token_hex(4), created=created, protocol=rules, plugins=tuple(plugins))
    source = click.get_current_context().get_parameter_source
    typed = source("results") is ParameterSource.COMMANDLINE
    folder = Path(given["results"] if typed else DEFAULT_RESULTS)
    records: list[TargetRecord] = []
    stored: RecordFile | None = None
    interrupted = False
    with progress.bar(target.races(run, variants)) as show:
        try:
            with RecordFile(folder, run=run.id, created=created, to_line=targets.encode) as stored:
                for record in target.train(run, variants, show):
                    stored.append(record)
                    records.append(record)
        except KeyboardInterrupt:
            interrupted = True
    if records:
        display(tables(records, baseline=given["baseline"]), given)
        click.echo(f"stored: {stored.path if stored else '?'}", err=True)
    if interrupted:
        click.echo(f"interrupted: {len(records)} trainings were finished and are kept", err=True)
        return 130
    return output.FAILED if any(record.training.failure for record in records) else 0


def display(made: Sequence[TargetTable], given: dict[str, Any]) -> None:
    """Prints tables and writes the files that were asked for."""
    drawn = (terminal.render(table, width=output.width(), color=output.color()) for table in made)
    click.echo("\n\n".join(drawn))
    forms = {"json": document.render, "markdown": lambda all_: "\n\n".join(map(markdown.render, all_))}
    output.write_all(given, forms, made)


def _rates(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(rate) for rate in text.split(","))
    except ValueError as error:
        raise InvalidOption(f"--rates {text}: write learning rates with commas between: 0.001,0.01,0.1") from error
