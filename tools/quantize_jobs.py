"""From the options of `stepbench quantize` to the job of each seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import InvalidData, InvalidOption, PluginFailed
from bench.plugin import Part, Workload

if TYPE_CHECKING:
    from lowbit.data.split import Split
    from lowbit.pipeline.job import Job
    from lowbit.pipeline.plan import Plan
    from lowbit.quantization.flow import Flow

DIGITS = "digits"
EPOCHS, QAT_EPOCHS = 10, 3


def jobs(part: Part, given: dict[str, Any]) -> Callable[[int], Job]:
    """Returns what makes the job of a seed; what every seed has in common is checked at once.

    Raises StepbenchError and QuantizationError for what a user can mend.
    """
    from lowbit.data.images import NotAnImageSet
    from lowbit.pipeline import checkpoint
    from lowbit.pipeline.job import Job, data_identity
    from lowbit.quantization.flows import flow

    settings = tuple(_setting(text) for text in given["settings"])
    made = flow(given["flow"], modules=settings, wide_output=given["high_precision_output"])
    plan = _plan(part.name, settings, made, given)

    def job(seed: int) -> Job:
        own = plan(seed)
        try:
            data = _data(own, given["data"])
        except NotAnImageSet as error:
            raise InvalidData(f"--data {error}") from error
        start = None
        if given["start"] is not None:
            start = checkpoint.float_state(Path(given["start"]), {"model": part.name} | data_identity(data))
        return Job(
            plan=own,
            make=lambda seed: _workload(part, seed).module,
            loss=_workload(part, seed).loss,
            data=data,
            flow=made,
            start=start,
        )

    plan(given["seed"])
    return job


def _plan(
    model: str, settings: tuple[tuple[str, str], ...], flow: Flow, given: dict[str, Any]
) -> Callable[[int], Plan]:
    from lowbit.pipeline.plan import LR, QAT_PART, Plan
    from lowbit.quantization.input_stub import parse_scale

    lr = LR.get(given["optimizer"], LR["adam"]) if given["lr"] is None else given["lr"]
    epochs = given["epochs"] if given["epochs"] is not None else EPOCHS if given["start"] is None else 0
    qat_epochs = given["qat_epochs"] if given["qat_epochs"] is not None else QAT_EPOCHS * flow.trains
    scale = given["input_scale"]

    def plan(seed: int) -> Plan:
        return Plan(
            model=model,
            flow=given["flow"],
            modules=settings,
            wide_output=given["high_precision_output"],
            epochs=epochs,
            qat_epochs=qat_epochs,
            calibration=given["calibration"],
            optimizer=given["optimizer"],
            lr=lr,
            qat_lr=QAT_PART * lr if given["qat_lr"] is None else given["qat_lr"],
            batch=given["batch"],
            seed=seed,
            input_scale=None if scale is None else parse_scale(scale),
            yuv=given["yuv"],
            threads=given["threads"],
        )

    return plan


def _data(plan: Plan, source: str) -> Split:
    from lowbit.data.split import cifar10_at, digits

    form = {"camera": plan.input_scale is not None, "yuv": plan.yuv}
    if source == DIGITS:
        return digits(plan.seed, **form)
    if not Path(source).exists() and "/" not in source and "." not in source:
        raise InvalidData(f"--data {source}: must be {DIGITS}, or a path to CIFAR-10 (binary version or .npz)")
    return cifar10_at(source, plan.seed, **form)


def _setting(text: str) -> tuple[str, str]:
    glob, equals, setting = text.partition("=")
    if not (glob and equals and setting):
        raise InvalidOption(f"--setting {text}: write GLOB=SETTING, such as conv1a=float or 'conv*=w4a8-per-tensor'")
    return glob, setting


def _workload(part: Part, seed: int) -> Workload:
    import torch

    found = part.factory(torch.device("cpu"), torch.float32, seed)
    if not isinstance(found, Workload):
        raise PluginFailed(
            f"model {part.name!r} ({part.origin}) returned {type(found).__name__}; return a bench.Workload"
        )
    return found
