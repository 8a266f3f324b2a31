"""`stepbench profile trace`: a trace for Perfetto, and the operations of a step."""

from __future__ import annotations

from typing import Any

import click

from bench.errors import StepbenchError
from bench.profile.messages import ProfileRequest
from bench.profile.session import PATIENCE_S, started
from bench.report.profile import operations

from . import output, profile_subjects, progress


@click.command("trace")
@click.argument("variant", metavar="VARIANT")
@click.option("--steps", type=click.IntRange(1), default=5, show_default=True, metavar="N", help="Traced steps.")
@click.option("--top", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="Rows of the table.")
@click.option("--output", "place", default=".", show_default=True, metavar="DIR", help="Where the trace is written.")
@click.option("--json", metavar="PATH", help="Write all operations as a document.")
@click.option("--markdown", metavar="PATH", help="Write the table for a pull request.")
@profile_subjects.options
def command(variant: str, steps: int, top: int, place: str, **given: Any) -> int:
    """Run some steps under torch.profiler, phases marked as forward, backward and optimize.

    Writes a trace that https://ui.perfetto.dev and chrome://tracing open, and prints the operations that take most of
    a step by themselves.

    \b
    Examples:
      stepbench profile trace vit/eva-8bit/none
      stepbench profile trace resnet20/eva/none --steps 20 --top 40 --output profiles
    """
    output.check(given)
    path = profile_subjects.folder(place) / f"{profile_subjects.file_name(variant)}.trace.json"
    plan = profile_subjects.only(variant, given)
    with progress.bar(None) as show:
        show(f"{variant}: tracing {steps} steps")
        worker = started(plan, 0, plan.versions)
        try:
            answer = worker.ask(
                ProfileRequest(do="trace", subjects=plan.subjects, steps=steps, path=str(path.resolve())), PATIENCE_S
            )
        finally:
            worker.stop()
    wrong = answer.usage or answer.failure
    if wrong:
        raise StepbenchError(f"{variant}: {wrong}")
    found = operations.Traced(variant=variant, steps=answer.steps, operations=answer.operations)
    output.write_all(given, {"json": operations.document, "markdown": operations.markdown}, found)
    click.echo(operations.terminal(found, top=top, width=output.width(), color=output.color()))
    click.echo(f"wrote {path}; open it in https://ui.perfetto.dev")
    return 0
