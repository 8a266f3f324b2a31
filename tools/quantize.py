"""`stepbench quantize`: take a model from float to quantized, with its accuracy at every stage."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bench.errors import InvalidOption, NotQuantized, ResultsUnwritable
from bench.plugin import Part
from bench.run.load import load

from . import deploy, output, progress

if TYPE_CHECKING:
    import torch

    from lowbit.pipeline.trail import Trail

INTERRUPTED = 130


@click.command("quantize")
@click.argument("model")
@click.option("--flow", required=True, metavar="NAME", help="The flow: kbit-8, fx-static-x86, ...; see above.")
@click.option(
    "--data",
    default="digits",
    show_default=True,
    metavar="digits|PATH",
    help="digits (scikit-learn's, split 1347/450 by the seed), or a path to CIFAR-10 (binary version or .npz).",
)
@click.option("--epochs", type=int, metavar="N", help="Float epochs.  [default: 10; 0 with --float]")
@click.option("--qat-epochs", type=int, metavar="N", help="Quantization-aware epochs.  [default: 3 if the flow trains]")
@click.option("--calibration", type=int, default=256, show_default=True, metavar="N", help="Calibration examples.")
@click.option("--optimizer", default="adam", show_default=True, metavar="adam|sgd", help="SGD has momentum 0.9.")
@click.option("--lr", type=float, metavar="LR", help="Of float training.  [default: 0.001 for adam, 0.05 for sgd]")
@click.option("--qat-lr", type=float, metavar="LR", help="Of QAT.  [default: a tenth of --lr]")
@click.option("--batch", type=int, default=32, show_default=True, metavar="N", help="Batch size of all stages.")
@click.option("--seeds", type=int, default=1, show_default=True, metavar="N", help="How many seeds, from --seed on.")
@click.option("--seed", type=int, default=0, show_default=True, metavar="S", help="Of weights, batches and the split.")
@click.option(
    "--high-precision-output", metavar="LAYER", help="Quantize this layer and give its output in 32 bits (k-bit flows)."
)
@click.option(
    "--setting",
    "settings",
    multiple=True,
    metavar="GLOB=SETTING",
    help="Of modules by name: float, or bits and options as in a k-bit name; the last that matches counts; repeatable.",
)
@click.option("--input-scale", metavar="SCALE", help="Of an input stub, 1/128 for a camera's pictures: (byte-128)/128.")
@click.option("--yuv", is_flag=True, help="Give the model centred YUV 4:4:4 (BT.601, full range) in place of RGB.")
@click.option("--float", "start", metavar="CHECKPOINT", help="Start from a float.pt or a saved state_dict.")
@click.option("--out", metavar="DIR", help="Where checkpoints and the trail are kept.  [default: quantized/MODEL-FLOW]")
@click.option(
    "--deploy",
    metavar="DIR",
    help="Check the deployed model of the first seed, make it at --levels, time and draw it; DIR keeps all of it.",
)
@click.option("--levels", metavar="LEVELS", help="With --deploy, as in stepbench deploy.  [default: O0,O1,O2]")
@click.option("--fresh", is_flag=True, help="Start over, and lose what --out holds of the same seeds.")
@click.option("--threads", type=int, default=1, show_default=True, metavar="N", help="Intra-op threads.")
@click.option(
    "--plugin", "plugins", multiple=True, metavar="FILE", help="A Python file with register(registry); repeatable."
)
@click.option("--json", metavar="PATH", help="Write the trail as a document with a schema version.")
@click.option("--markdown", metavar="PATH", help="Write the trail for a pull request.")
def command(model: str, **given: Any) -> int:
    """Train MODEL in float, calibrate it, train it quantized, and convert it; print what it can do at every stage.

    Observers move in calibration and in QAT, never in validation, and the test part decides nothing. After every epoch
    a checkpoint stands in --out; the same command goes on from there, bit for bit, whatever ended the run before. With
    several seeds, means and differences to float have intervals over seeds.

    \b
    Flows (ENGINE: x86, onednn, fbgemm, qnnpack):
      kbit-8 ... kbit-2, kbit-w4a8               own quantizers; may be followed by -per-tensor,
                                                 -symmetric, -min-max or -histogram, -reduce-range,
                                                 -all-layers, in this order
      eager-dynamic-ENGINE, fx-dynamic-ENGINE    torch's own
      eager-static-ENGINE, fx-static-ENGINE      ... after training; also -per-tensor
      eager-qat-ENGINE, fx-qat-ENGINE            ... while training; also -per-tensor
      pt2e-static, pt2e-qat, pt2e-dynamic        ... on exported graphs, with torchao
      dorefa-W-A-G, dorefa-W-A-G-sum             DoReFa-Net
      f8net, f8net-search                        F8Net

    \b
    Examples:
      stepbench quantize resnet20 --flow kbit-8
      stepbench quantize resnet20 --flow kbit-4 --seeds 5 --json trail.json --markdown trail.md
      stepbench quantize resnet20 --flow kbit-8 --qat-epochs 0 --calibration 512
      stepbench quantize resnet20 --flow kbit-w4a8 --setting 'conv9*=8' --setting conv1a=float
      stepbench quantize resnet20 --flow kbit-8 --yuv --input-scale 1/128 --high-precision-output classifier
      stepbench quantize resnet20 --flow fx-static-x86 --float quantized/resnet20-kbit-8/seed-0/float.pt
      stepbench quantize mobilenetv2 --flow kbit-8 --data path/to/cifar-10-batches-bin --optimizer sgd
      stepbench quantize resnet20 --flow pt2e-static --deploy deployed --levels O0,O2,aoti
      stepbench quantize mlp --flow kbit-8-all-layers --plugin my_specimens.py
    """
    for name in ("seeds", "threads"):
        if given[name] < 1:
            raise InvalidOption(f"--{name} {given[name]}: must be 1 or more")
    # torch reads these when it is imported.
    os.environ |= {"OMP_NUM_THREADS": str(given["threads"]), "MKL_NUM_THREADS": str(given["threads"])}
    part = load(given["plugins"]).get("model", model)
    output.check(given)
    folder = Path(given["out"] or f"quantized/{model}-{given['flow']}")
    deploys = deploy.after_pipeline(f"{model}, {given['flow']}", given)
    trails: dict[int, Trail] = {}
    before = _checkpoints(folder, given) if given["fresh"] else set()
    first, interrupted = None, False
    with _explained():
        try:
            first = _run(part, folder, given, trails)
        except KeyboardInterrupt:
            interrupted = True
    if trails:
        from .quantize_show import show

        show(list(trails.values()), folder, given)
    if interrupted:
        # Without --fresh the command would go on with checkpoints that this run has not come to yet.
        starts_over = not before.isdisjoint(_checkpoints(folder, given))
        how, again = "start over" if starts_over else "go on", _again(click.get_current_context(), fresh=starts_over)
        click.echo(f"interrupted: what was finished is kept in {folder}; {how} with: {again}", err=True)
        return INTERRUPTED
    if deploys is not None and first is not None:
        deploys(*first)
    return 0


def _run(
    part: Part, folder: Path, given: dict[str, Any], trails: dict[int, Trail]
) -> tuple[torch.nn.Module, torch.Tensor]:
    """Runs every seed; `trails` has at any time what was found so far.

    Returns the deployed model of the first seed, and the test pictures as it takes them.
    """
    import torch

    from lowbit.pipeline.run import run

    from .quantize_jobs import jobs

    job = jobs(part, given)
    _check(folder, given["out"])
    torch.set_num_threads(given["threads"])
    seeds = _seeds(given)
    for seed in seeds[1:]:
        # What is wrong for a later seed is said before anything is trained for the first.
        job(seed)
    with progress.bar(None) as show:
        for number, seed in enumerate(seeds):

            def shown(text: str, done: float, total: float, number: int = number, seed: int = seed) -> None:
                show(f"seed {seed}: {text}", number * total + done, given["seeds"] * total)

            own = job(seed)
            note = partial(trails.__setitem__, seed)
            outcome = run(own, folder / f"seed-{seed}", fresh=given["fresh"], show=shown, note=note)
            if not number:
                first = outcome.module, own.data.test.images
    return first


@contextmanager
def _explained() -> Iterator[None]:
    """Makes the library's word for a user's mistake the one that commands print on a line."""
    try:
        yield
    except Exception as error:
        from lowbit.pipeline.job import NothingQuantized
        from lowbit.quantization.flow import QuantizationError

        if isinstance(error, NothingQuantized):
            raise NotQuantized(str(error)) from error
        if isinstance(error, QuantizationError):
            raise InvalidOption(str(error)) from error
        raise


def _check(folder: Path, given: str | None) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        name = "--out" if given is not None else "without --out"
        raise ResultsUnwritable(f"{name} {folder}: {error.strerror}; give a folder that can be written") from error


def _seeds(given: dict[str, Any]) -> range:
    return range(given["seed"], given["seed"] + given["seeds"])


def _checkpoints(folder: Path, given: dict[str, Any]) -> set[tuple[Path, int]]:
    """Returns the checkpoints of these seeds that stand in a folder, each with the time at which it was written."""
    from lowbit.pipeline.run import CHECKPOINT

    found = set()
    for path in (folder / f"seed-{seed}" / CHECKPOINT for seed in _seeds(given)):
        # What cannot be looked at cannot be written either, and is refused as that.
        with suppress(OSError):
            found.add((path, path.stat().st_mtime_ns))
    return found


def _again(context: click.Context, *, fresh: bool) -> str:
    """Returns the command to type after this one: what was typed, with --fresh or without."""
    words = ["stepbench", "quantize"]
    for parameter in context.command.params:
        name = parameter.name or ""
        if (name == "fresh" and not fresh) or context.get_parameter_source(name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[name]
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif value is True:
            words.append(parameter.opts[0])
        else:
            for one in value if isinstance(value, tuple) else (value,):
                words += [parameter.opts[0], str(one)]
    return shlex.join(words)


if __name__ == "__main__":
    sys.exit(command.main(standalone_mode=False))
