"""`stepbench compare`: two commits measured against each other, with a verdict for every variant and phase."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench.analyze import comparison as analysis
from bench.data.variant import Variant
from bench.errors import InvalidRepository, NothingMeasured, StepbenchError
from bench.plugin import Registry
from bench.report.comparison import document, html, markdown, terminal
from bench.run import snapshot
from bench.run.select import select

from . import comparing, output, rule, versions
from .catalog import DEFAULT as DEFAULT_CATALOG
from .catalog import choose

MAIN_JOB = "pr"
REGRESSION, INCONCLUSIVE = 1, 5
# What a command that does it again does not need: what it writes, and what the names of variants say already.
NOT_REPEATED = frozenset({"json", "markdown", "html", "conclusive", "set_name", "catalog", "batch"})


@click.command("compare")
@click.argument("base")
@click.argument("head", required=False)
@click.argument("selection", nargs=-1, metavar="[SELECT]...")
@click.option("--repo", default=".", show_default=True, metavar="PATH", help="A folder of the repository.")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", help="A Python file with register(registry); repeatable."
)
@click.option("--path", metavar="FOLDER", help="Import root inside the repository.  [default: src, or its top]")
@click.option("--set", "set_name", metavar="NAME", help="A set of suites/catalog.py, to which SELECT is applied.")
@click.option("--catalog", metavar="PATH", help="Another file with SETS.  [default: suites/catalog.py]")
@click.option("--batch", type=int, metavar="N", help="Batch size of every variant.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Intra-op threads.")
@click.option("--device", metavar="NAME", help="cpu, cuda or cuda:N, of every variant.")
@click.option("--data", default="digits", show_default=True, metavar="SOURCE", help="As in stepbench measure.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of models and batches.")
@click.option(
    "--budget", type=float, default=30.0, show_default=True, metavar="SECONDS", help="At most so long a variant."
)
@click.option(
    "--workers", type=click.IntRange(1), default=4, show_default=True, metavar="N", help="Processes that take turns."
)
@click.option(
    "--isolation",
    type=click.Choice(["auto", "module", "process"]),
    default="auto",
    show_default=True,
    help="Both versions in one process, or a process for each; auto takes one wherever that is valid.",
)
@rule.options
@click.option("--conclusive", is_flag=True, help="Exit with 5 where a step is inconclusive.")
@click.option("--json", metavar="PATH", help="Write verdicts and raw samples as a document with a schema version.")
@click.option("--markdown", metavar="PATH", help="Write the report for a pull request.")
@click.option("--html", metavar="PATH", help="Write a page with the replicates' ratios as pictures.")
def command(
    base: str, head: str | None, selection: tuple[str, ...], repo: str, plugins: tuple[str, ...], **given: Any
) -> int:
    """Measure two commits against each other: slower, faster, equivalent or inconclusive?

    BASE and HEAD are names of commits; HEAD is the working tree, with its uncommitted changes, when it is left out or
    is a dot. SELECT picks variants as in `stepbench measure`; without any, the set `pr` or, without a catalog, every
    combination of what the two versions register.

    Both versions are loaded side by side in each of several processes and take steps in turn, or at once on one core
    where steps are long. Each replicate imports and builds both anew, in an order that is drawn by lot. A variant is
    done as soon as a verdict stands for the step and every phase, or for a changed step and the phase that explains it;
    at the latest after --budget.

    \b
    Examples:
      stepbench compare main
      stepbench compare v1.2 main 'resnet20/eva*'
      stepbench compare HEAD~1 . vit/eva --budget 60 --markdown report.md
      stepbench compare main --repo ../other --path src --plugin ../other/bench_parts.py

    \b
    Exit codes:
      0 nothing is slower  1 a step or phase is slower  2 wrong usage  3 a variant failed
      4 nothing was measured  5 a step is inconclusive and --conclusive was given  130 interrupted
    Where several hold, the first of 130, 1, 3, 4 and 5. With --isolation module, what needs a process for each version
    is a variant that failed, and wrong usage where it shows before any variant is built.
    """
    output.check(given)
    judged_by = rule.chosen(given)
    folder = snapshot.top_level(Path(repo))
    doubtful = None
    if head not in {None, versions.WORKING_TREE} and not snapshot.is_commit(folder, str(head)):
        doubtful, selection, head = head, (str(head), *selection), None
    sides = (
        versions.named("base", folder, base, given["path"], plugins),
        versions.named("head", folder, head or versions.WORKING_TREE, given["path"], plugins),
    )
    report, interrupted = comparing.compared(
        folder,
        sides,
        lambda registry: _selected(registry, folder, given, selection, doubtful),
        judged_by,
        given,
        options=_options(),
    )
    output.write_all(given, {"json": document.render, "markdown": markdown.render, "html": html.render}, report)
    click.echo(terminal.render(report, width=output.width(), color=output.color()))
    return 130 if interrupted else _exit_code(report, conclusive=given["conclusive"])


def _selected(
    registry: Registry, folder: Path, given: dict[str, Any], selection: Sequence[str], doubtful: str | None
) -> list[Variant]:
    """Returns the variants; `doubtful` is what stands in HEAD's place and is no commit."""
    axes = {axis: given[axis] for axis in ("batch", "threads", "device")}
    listed = None
    if given["set_name"] or given["catalog"]:
        listed = choose(given["catalog"], given["set_name"] or MAIN_JOB)
    elif not selection and (folder / DEFAULT_CATALOG).is_file():
        listed = choose(str(folder / DEFAULT_CATALOG), MAIN_JOB)
    try:
        variants = select(registry, selection or (() if listed else ("*",)), listed, axes)
    except StepbenchError as error:
        if doubtful is None:
            raise
        raise InvalidRepository(f"{doubtful!r} is no commit, and no selection either: {error}") from error
    if not variants:
        raise NothingMeasured("the selection is empty; `stepbench list` shows what there is")
    return variants


def _options() -> tuple[str, ...]:
    """Returns the options of this call that a command that does it again needs."""
    context = click.get_current_context()
    words: list[str] = []
    for parameter in context.command.params:
        name = str(parameter.name)
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and isinstance(parameter, click.Option) and name not in NOT_REPEATED:
            value = context.params[name]
            values = value if parameter.multiple else [None if parameter.is_flag else value]
            words += [word for each in values for word in (parameter.opts[0], each) if word is not None]
    return tuple(map(str, words))


def _exit_code(report: analysis.Report, *, conclusive: bool) -> int:
    words = {row.verdict.word for item in report.variants for row in item.rows}
    if "slower" in words:
        return REGRESSION
    if any(item.duet.status == "failed" for item in report.variants):
        return output.FAILED
    if not words:
        return output.NOTHING
    unsure = any(item.step is not None and not item.step.verdict.stands for item in report.variants)
    return INCONCLUSIVE if conclusive and unsure else 0


if __name__ == "__main__":
    sys.exit(command.main(standalone_mode=False))
