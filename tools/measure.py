"""`stepbench measure`: time the phases of variants, store every record, show the table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.progress import MofNCompleteColumn, TimeRemainingColumn

from bench.data.protocol import LEAST_RUN_S, Protocol, default_budget_s
from bench.data.record import Record
from bench.data.variant import NONE
from bench.errors import NothingMeasured
from bench.run import schedule
from bench.run.load import load
from bench.run.select import select
from bench.store.jsonl import RecordFile

from . import output, progress, until
from .catalog import choose

MAIN_JOB = "pr"


@click.command("measure")
@click.argument("selection", nargs=-1, metavar="[SELECT]...")
@click.option(
    "--set",
    "set_name",
    metavar="NAME",
    help="A set of suites/catalog.py: smoke, pr, history, full or quantization.  [default: pr]",
)
@click.option("--catalog", metavar="PATH", help="Another file with SETS.  [default: suites/catalog.py]")
@click.option("--batch", type=int, metavar="N", help="Batch size of every variant.")
@click.option("--threads", type=int, metavar="N", help="Intra-op threads of every variant; variants default to 1.")
@click.option(
    "--ranks",
    type=int,
    metavar="N",
    help="Processes that train together, in DistributedDataParallel; batch and threads are those of each.",
)
@click.option("--device", metavar="NAME", help="cpu, cuda or cuda:N, of every variant.")
@click.option(
    "--data",
    default="digits",
    show_default=True,
    metavar="SOURCE",
    help="digits (scikit-learn's, as 3x32x32), synthetic, or a path to CIFAR-10 (binary version or .npz).",
)
@click.option(
    "--budget",
    type=float,
    metavar="SECONDS",
    help="Measuring time of one variant, warm-up included; each replicate takes at least two pairs of steps, however "
    f"slow they are.  [default: {Protocol.budget_s:g}, or more where a run would be over before {LEAST_RUN_S:g} s]",
)
@click.option(
    "--workers",
    type=int,
    default=Protocol.workers,
    show_default=True,
    metavar="N",
    help="Processes that take replicates; intervals are over them.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of models and batches.")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", help="A Python file with register(registry); repeatable."
)
@click.option(
    "--results", default="results/records", show_default=True, metavar="DIR", help="Where records are stored."
)
@until.options
@output.options
def command(
    selection: tuple[str, ...], set_name: str | None, catalog: str | None, plugins: tuple[str, ...], **given: Any
) -> int:
    """Measure forward, backward, optimize and the whole step of variants.

    SELECT is a variant id, model/optimizer/quantization@axis=value,..., or a glob of one; cut short, it means every
    optimizer and no quantization. Without SELECT the set `pr` is measured: Eva in its three forms and SGD, on three
    models. With --set and SELECT, SELECT picks from the set.

    Each variant is rebuilt in several worker processes, in interleaved rounds; the table shows medians with
    95 % intervals from these replicates, and exact counters in the same row. Every finished variant is stored
    at once: whatever ends the run, what was measured stays.

    \b
    Examples:
      stepbench measure
      stepbench measure --set smoke --budget 2
      stepbench measure vit --batch 8 --threads 2
      stepbench measure 'resnet20/eva*' resnet20/sgd
      stepbench measure resnet20/eva-8bit/none --data path/to/cifar-10-batches-bin
      stepbench measure --format seed
      stepbench measure --json report.json --markdown report.md
      stepbench measure resnet20/sgd resnet20/eva --batch 32 --until accuracy=0.95

    With --until, variants are trained to an accuracy on held-out pictures, side by side and over several seeds, each at
    the best learning rate of one grid; records go to results/target. docs/time-to-target.md says how.
    """
    rules = until.protocol(given)
    axes = {axis: given[axis] for axis in ("batch", "threads", "ranks", "device")}
    registry = load(plugins)
    listed = choose(catalog, set_name or MAIN_JOB) if set_name or not selection else None
    variants = select(registry, selection, listed, axes)
    if not variants:
        raise NothingMeasured("the selection is empty; `stepbench list` shows what there is")
    files = [str(Path(file).resolve()) for file in plugins]
    if rules is not None:
        return until.train(rules, variants, given, files)
    protocol = Protocol(
        data=given["data"],
        seed=given["seed"],
        budget_s=default_budget_s(len(variants)) if given["budget"] is None else given["budget"],
        workers=given["workers"],
    )
    if given["baseline"] != NONE:
        registry.get("optimizer", given["baseline"])
    run = schedule.new_run(protocol, files)
    output.check(given)
    records: list[Record] = []
    stored: RecordFile | None = None
    interrupted = False
    total = schedule.jobs(run, variants)
    with progress.bar(total, MofNCompleteColumn(), TimeRemainingColumn()) as show:
        done = 0

        def advance(line: str) -> None:
            nonlocal done
            done += not line.startswith("starting")
            show(line, done)

        try:
            with RecordFile(Path(given["results"]), run=run.id, created=run.created) as stored:
                for record in schedule.measure(run, variants, advance):
                    stored.append(record)
                    records.append(record)
        except KeyboardInterrupt:
            interrupted = True
    if records:
        output.show(records, given)
        click.echo(f"stored: {stored.path if stored else '?'}", err=True)
    if interrupted:
        click.echo(f"interrupted: {len(records)} of {len(variants)} variants finished and are kept", err=True)
        return 130
    return output.exit_code(records)


if __name__ == "__main__":
    sys.exit(command.main(standalone_mode=False))
