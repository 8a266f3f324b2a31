"""`stepbench deploy`: can a model be deployed, at which levels, and what does it look like?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.data.variant import Variant
from bench.errors import InvalidOption, ResultsUnwritable
from bench.run.load import load
from bench.run.select import check

from . import output, progress
from .perf import inference

if TYPE_CHECKING:
    import torch

DEFAULT_LEVELS, BUDGET_S = "O0,O1,O2", 4.0
# Peaks of a machine are by threads and device, whatever model runs there.
ANY_MODEL = "resnet20/none/none"


@click.command("deploy")
@click.argument("variant")
@click.option("--check", "checks", is_flag=True, help="Check; exit code 3 where something cannot be done.")
@click.option(
    "--levels",
    metavar="LEVELS",
    help=f"Make these, separated by commas; see above.  [default: {DEFAULT_LEVELS}]",
)
@click.option("--svg", metavar="FILE", help="Draw the graph of the model.")
@click.option("--out", metavar="DIR", help="Where all is kept.  [default: deployed/VARIANT]")
@click.option(
    "--budget", type=float, default=BUDGET_S, show_default=True, metavar="SECONDS", help="Of timing the model."
)
@click.option("--data", default="digits", show_default=True, metavar="SOURCE", help="As in stepbench measure.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of models and batches.")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", help="A Python file with register(registry); repeatable."
)
def command(variant: str, **given: Any) -> int:
    """Check a model, make it at several levels, time its layers, and draw its graph.

    VARIANT is as in stepbench perf. Without --check, --levels and --svg all four are done and kept in --out; with one
    of them, what is named. What cannot be done has its cause, the line of the model where it stands, and a remedy.

    \b
    Levels, each compared with eager, stored, and loaded again in a fresh process:
      O0    eager: the model as it is, stored as a graph of torch.export
      O1    normalizations folded into convolutions, channels_last, no gradients
      O2    torch.compile with weights as constants
      O3    O2 with kernels chosen by timing them; takes minutes
      aoti  AOTInductor: a package that needs no compiler where it is loaded
      onnx  ONNX, run by onnxruntime: pip install 'stepbench[onnx]'

    \b
    Examples:
      stepbench deploy resnet20
      stepbench deploy resnet20/none/pt2e-static@batch=32 --levels O0,O2,aoti
      stepbench deploy mobilenetv2/none/fx-static-x86 --svg graph.svg
      stepbench deploy mlp --check --plugin my_specimens.py
    """
    wanted = inference(variant)
    if wanted.compiled:
        raise InvalidOption(f"{variant}: leave compiled=true away; levels O2 and O3 compile the model")
    # torch reads these when it is imported.
    os.environ |= {"OMP_NUM_THREADS": str(wanted.threads), "MKL_NUM_THREADS": str(wanted.threads)}
    registry = load(given["plugins"])
    check(registry, wanted)
    everything = not (given["checks"] or given["levels"] or given["svg"])

    from . import deploy_run
    from .deploy_run import Wanted

    folder = None
    if everything or given["levels"]:
        folder = writable(Path(given["out"] or f"deployed/{str(wanted).replace('/', '-')}"))
    want = Wanted(
        checks=everything or given["checks"],
        levels=deploy_run.levels(given["levels"] or DEFAULT_LEVELS) if folder is not None else (),
        budget=given["budget"] if everything else 0.0,
        picture=folder / "graph.svg" if everything and folder is not None else _file(given["svg"]),
        folder=folder,
    )
    with progress.bar(None) as show:
        show(f"building {wanted}")
        subject = deploy_run.subject(registry, wanted, data=given["data"], seed=given["seed"])
        found = deploy_run.deployment(subject, want, show)
    deploy_run.show(found, want)
    return output.FAILED if given["checks"] and found.check is not None and not found.check.passes else 0


def after_pipeline(name: str, given: dict[str, Any]) -> Callable[[torch.nn.Module, torch.Tensor], None] | None:
    """Returns what deploys the model that a pipeline ends with, by --deploy and --levels; None without --deploy.

    What is wrong with them is said at once, before anything is trained.
    """
    if given["deploy"] is None:
        if given["levels"] is not None:
            raise InvalidOption(f"--levels {given['levels']}: says what --deploy makes; give --deploy DIR as well")
        return None
    from . import deploy_run

    names = deploy_run.levels(given["levels"] or DEFAULT_LEVELS)
    folder = writable(Path(given["deploy"]))
    batch, threads = given["batch"], given["threads"]

    def deploys(module: torch.nn.Module, pictures: torch.Tensor) -> None:
        batches = tuple(part for part in pictures.split(batch) if len(part) == batch) or (pictures,)
        variant = Variant.parse(f"{ANY_MODEL}@batch={len(batches[0])},threads={threads}")
        subject = deploy_run.Subject(name=name, module=module, batches=batches, variant=variant)
        want = deploy_run.Wanted(
            checks=True, levels=names, budget=BUDGET_S, picture=folder / "graph.svg", folder=folder
        )
        with progress.bar(None) as show:
            found = deploy_run.deployment(subject, want, show)
        deploy_run.show(found, want)

    return deploys


def writable(folder: Path) -> Path:
    """Returns a folder that is there; raises ResultsUnwritable for one that cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsUnwritable(f"{folder}: {error.strerror}; give a folder that can be written") from error
    if not os.access(folder, os.W_OK):
        raise ResultsUnwritable(f"{folder}: cannot be written; give another folder")
    return folder


def _file(given: str | None) -> Path | None:
    if given is not None:
        output.check({"output": given})
    return None if given is None else Path(given)


if __name__ == "__main__":
    sys.exit(command.main(standalone_mode=False))
