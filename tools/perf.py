"""`stepbench perf`: what each layer of a model costs, takes and could take."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.data.variant import NONE, PART_AXES, Variant
from bench.errors import InvalidOption, StepbenchError
from bench.run.load import load
from bench.run.select import check

from . import output, progress

if TYPE_CHECKING:
    from lowbit.deploy.target import Target

MOST = 2


@click.command("perf")
@click.argument("variants", nargs=-1, required=True, metavar="VARIANT [VARIANT]")
@click.option("--budget", type=float, default=6.0, show_default=True, metavar="SECONDS", help="Of timing one model.")
@click.option(
    "--target", metavar="FILE", help="JSON of other hardware: name, peak by dtype, bandwidth, on_chip_bytes; see above."
)
@click.option("--data", default="digits", show_default=True, metavar="SOURCE", help="As in stepbench measure.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of models and batches.")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", help="A Python file with register(registry); repeatable."
)
@click.option("--fresh", is_flag=True, help="Measure this machine's peaks again; they are kept in the user's cache.")
@click.option("--json", metavar="PATH", help="Write all figures as a document with a schema version, SI units.")
@click.option("--markdown", metavar="PATH", help="Write the tables for a pull request.")
@click.option("--html", metavar="PATH", help="Write a page: sortable tables, roofline, and the graph of the model.")
def command(variants: tuple[str, ...], **given: Any) -> int:
    """Show what each layer of a model costs in inference: operations, bytes, time, and the least time possible.

    VARIANT is a model with a quantization, resnet20/none/fx-static-x86@batch=32; cut short, its float model is meant.
    Operations, two for each multiply-accumulate, are counted where they reach torch, so that models of integers have
    theirs too, and what nobody knows a formula for is named. Layers are timed by marks at their edges, in turns with
    forwards without marks: their sum is never scaled to the whole, and where both differ the report says why. The
    bound is that of this machine's peak and bandwidth. Two variants are shown beside each other, layer by layer.

    \b
    --target predicts the same for hardware that is not at hand, by a file in operations and bytes a second:
      {"name": "a chip", "peak": {"int8": 5e12}, "bandwidth": 8e9, "on_chip_bytes": 2000000}

    \b
    Examples:
      stepbench perf mobilenetv2@batch=256
      stepbench perf resnet20/none/fx-static-x86@batch=32 resnet20/none/none@batch=32
      stepbench perf resnet20/none/kbit-8@batch=32,threads=2 --html page.html --json perf.json
      stepbench perf mobilenetv2/none/pt2e-static@compiled=true --target chip.json
      stepbench perf mlp@batch=8 --plugin my_specimens.py
    """
    wanted = _wanted(variants, given)
    # torch reads these when it is imported.
    threads = str(wanted[0].threads)
    os.environ |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    registry = load(given["plugins"])
    for variant in wanted:
        check(registry, variant)
    output.check(given)
    on = _target(given["target"])

    from . import perf_run, perf_show

    try:
        with progress.bar(None) as show:
            found = perf_run.performances(registry, wanted, on, given, show)
    except StepbenchError:
        raise
    except Exception as error:  # noqa: BLE001 - a model may raise anything, and its own lines say where
        click.echo(traceback.format_exc(), err=True)
        click.echo(f"failed: {' or '.join(map(str, wanted))}: {type(error).__name__}: {error}", err=True)
        return output.FAILED
    versions = perf_run.versions(wanted[0])
    about = perf_run.about(versions)
    perf_show.show(found, about)
    forms: dict[str, Callable[[Any], str | bytes]] = {
        "json": lambda each: json.dumps(perf_show.document(each, versions), indent=1),
        "markdown": lambda each: perf_show.markdown(each, about),
        "html": lambda each: perf_show.page(each, about),
    }
    output.write_all(given, forms, found)
    return 0


def inference(text: str) -> Variant:
    """Returns the variant that is meant, its ends may be left out; raises InvalidOption for one that trains."""
    path, at, axes = text.partition("@")
    parts = path.split("/")
    parts += [NONE] * (len(PART_AXES) - len(parts))
    variant = Variant.parse("/".join(parts) + at + axes)
    if variant.optimizer != NONE:
        raise InvalidOption(f"{text}: this is of inference; write {variant.with_axes(optimizer=NONE)}")
    return variant


def _wanted(texts: tuple[str, ...], given: dict[str, Any]) -> list[Variant]:
    """Returns the variants that are meant; raises InvalidOption for those that are no inference side by side."""
    if len(texts) > MOST:
        raise InvalidOption(f"{len(texts)} variants: one is shown by itself, two beside each other; give one or two")
    if given["budget"] <= 0:
        raise InvalidOption(f"--budget {given['budget']:g}: must be more than 0 seconds")
    found = [inference(text) for text in texts]
    for axis in ("threads", "device"):
        values = [str(getattr(variant, axis)) for variant in found]
        if len(set(values)) > 1:
            raise InvalidOption(f"{axis}={' and '.join(values)}: variants beside each other share theirs; give one")
    return found


def _target(given: str | None) -> Target | None:
    if given is None:
        return None
    from lowbit.deploy.target import InvalidTarget, parse

    try:
        return parse(Path(given).read_bytes())
    except OSError as error:
        raise InvalidOption(f"--target {given}: {error.strerror}") from error
    except InvalidTarget as error:
        raise InvalidOption(f"--target {given}: {error}") from error


if __name__ == "__main__":
    sys.exit(command.main(standalone_mode=False))
