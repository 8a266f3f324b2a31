"""`stepbench profile stacks`: a flame graph of a running step."""

from __future__ import annotations

from typing import Any

import click

from bench.profile.stacks import record

from . import profile_subjects, progress


@click.command("stacks")
@click.argument("variant", metavar="VARIANT")
@click.option(
    "--seconds", type=click.FloatRange(1), default=10.0, show_default=True, help="How long stacks are sampled."
)
@click.option("--rate", type=click.IntRange(1), default=200, show_default=True, metavar="HZ", help="Samples a second.")
@click.option("--native", is_flag=True, help="Frames of C and C++ too; slower, and samples fall behind.")
@click.option("--output", default=".", show_default=True, metavar="DIR", help="Where the files are written.")
@profile_subjects.options
def command(variant: str, seconds: float, rate: int, output: str, *, native: bool, **given: Any) -> int:
    """Sample the stacks of a step with py-spy, from outside and after warm-up.

    Writes a flame graph (SVG, for any browser) and a profile for https://www.speedscope.app. The process is a child
    of this one, so that most systems allow it; where one does not, that is said with what would help.

    \b
    Examples:
      stepbench profile stacks vit/eva-8bit/none
      stepbench profile stacks resnet20/eva/none --native --seconds 20 --output profiles
    """
    folder = profile_subjects.folder(output)
    plan = profile_subjects.only(variant, given)
    with progress.bar(None) as show:
        show(f"{variant}: sampling for {seconds:g} s")
        found = record(
            plan,
            lambda ending: folder / (profile_subjects.file_name(variant) + ending),
            seconds=seconds,
            rate=rate,
            native=native,
        )
    for path in found.files:
        click.echo(f"wrote {path}")
    for text in found.skipped:
        click.echo(f"skipped: {text}")
    return 0
