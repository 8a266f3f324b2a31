"""`stepbench profile lines`: what each line of a step's functions costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from bench.data.profile import Profile
from bench.report.profile import html, markdown, text
from bench.store import lprof
from bench.store import profiles as store

from . import output, profile_subjects


@click.command("lines")
@click.argument("variants", nargs=-1, required=True, metavar="VARIANT...")
@profile_subjects.sampling
@profile_subjects.options
@click.option("--json", metavar="PATH", help="Store the profiles with all samples; `profile diff` reads them.")
@click.option("--markdown", metavar="PATH", help="Write the dearest lines for a pull request.")
@click.option("--html", metavar="PATH", help="Write a page: source with a heat bar a line, variants side by side.")
@click.option(
    "--lprof", metavar="PATH", help="Write the first profile for kernprof's tools (a pickle; never read here)."
)
def command(variants: tuple[str, ...], **given: Any) -> int:
    """Print the lines of the model's forward, the optimizer's step and the hooks, with what each costs.

    The tables are line_profiler's: hits, time, time a hit and share of the function, warm-up steps left out. Below
    each stands what the dearest lines do: operations that reach the dispatcher, and the part of a line that is hooks.
    Several variants are taken together, step by step in turn. VARIANT@@COMMIT is a variant as a commit has it, written
    in full and without a *, and VARIANT@@. as the working tree has it. A function that is marked with
    `from bench.profile import lines` is always shown.

    \b
    Examples:
      stepbench profile lines resnet20/eva/none --steps 200
      stepbench profile lines 'resnet20/*/none' --html page.html
      stepbench profile lines vit/eva-8bit/none --function Eva8bit.step --function precondition
      stepbench profile lines mlp/my-sgd/none --plugin my_specimens.py
    """
    output.check(given)
    found, interrupted = profile_subjects.profiles(variants, given)
    whole = [profile for profile in found if profile.replicates]
    if whole:
        forms: dict[str, Callable[[Sequence[Profile]], str | bytes]] = {
            "markdown": markdown.render, "html": html.render, "json": store.encode, "lprof": lprof.encode,
        }  # fmt: skip
        output.write_all(given, forms, whole)
    if whole or not interrupted:
        click.echo(text.render(found))
    if interrupted:
        return profile_subjects.interrupted(whole)
    return output.FAILED if any(profile.failure for profile in found) else 0 if whole else output.NOTHING
