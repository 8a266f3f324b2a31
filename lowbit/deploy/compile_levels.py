"""The levels at which a model can be deployed, and how each is made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lowbit.deploy.artifact import Artifact, Run, autotuned, compiled, load
from lowbit.deploy.check import Cause
from lowbit.deploy.check_cause import cause_of, packed_cause
from lowbit.deploy.check_export import silence
from lowbit.deploy.compile_source import RUN_AS_IT_IS, CannotBeMade, Source, export, save
from lowbit.quantization.engine import OnEngine, stands_for
from lowbit.quantization.flow import QuantizationError
from lowbit.quantization.pt2e import Exported, fusion
from lowbit.quantization.pt2e_products import inductor_options
from lowbit.quantization.torch_ao import traced

_COMPILERS = ("c++", "g++", "clang++")


@dataclass(frozen=True, kw_only=True)
class Made:
    """A level of a model: what runs it, what is stored of it, and what there is to say."""

    run: Run
    artifact: Artifact | None
    notes: tuple[str, ...] = ()
    cause: Cause | None = None


@dataclass(frozen=True, kw_only=True)
class Level:
    """A level's name, what it does in one sentence, and what makes it of a model."""

    name: str
    summary: str
    make: Callable[[Source], Made]


def _eager(source: Source) -> Made:
    module = source.module
    try:
        graph = Artifact(kind="exported", path=source.stored())
        return Made(run=module, artifact=graph, notes=("stored as a graph of torch.export", *source.needs()))
    except CannotBeMade as found:
        if packed_cause(module) is None:
            path = source.folder / "state.pt"
            torch.save(module.state_dict(), path)
            note = "stored are its tensors alone, to run them takes the model's Python"
            return Made(run=module, artifact=Artifact(kind="state", path=path), notes=(note,), cause=found.cause)
    path = source.folder / "script.pt"
    with silence(), torch.no_grad():
        torch.jit.save(torch.jit.trace(module, source.inputs), path)
    # Loaded, it is packed by torch's rule for x86, which may not hold the model's ranges.
    engine = stands_for(module.engine) if isinstance(module, OnEngine) else str(torch.backends.quantized.engine)
    note = "stored as TorchScript, which is deprecated: no other format holds packed weights"
    return Made(run=module, artifact=Artifact(kind="script", path=path, engine=engine), notes=(note,))


def _fused(source: Source) -> Made:
    packed = packed_cause(source.module)
    if packed is not None:
        said = "nothing to fuse: its layers are int8 kernels, fused when they were made"
        raise CannotBeMade(Cause(message=said, remedy=RUN_AS_IT_IS, place=packed.place))
    if isinstance(source.module, Exported):
        said = "nothing to fuse: the model is an exported graph, its normalizations are folded"
        raise CannotBeMade(Cause(message=said, remedy=RUN_AS_IT_IS))
    try:
        with silence():
            # Its import warns of what it imports in its turn.
            from torch.fx.experimental.optimization import fuse

            # The graph has the model's own modules; fusing copies them.
            fused: nn.Module = fuse(traced(source.module), inplace=False, no_trace=True)
    except QuantizationError as error:
        raise CannotBeMade(cause_of(error.__cause__ or error, remedy=RUN_AS_IT_IS)) from error
    fused.requires_grad_(requires_grad=False)
    folded = _norms(source.module) - _norms(fused)
    notes = [f"{folded} of {_norms(source.module)} normalizations folded" if folded else "no normalization to fold"]
    if any(isinstance(child, nn.Conv2d) for child in fused.modules()):
        laid_out: Any = fused  # torch's types leave this form of `to` out
        laid_out.to(memory_format=torch.channels_last)
        notes.append("weights of convolutions channels_last")
    path = source.folder / "fused.pt2"
    exported = export(fused, source.inputs)
    if "cause" in exported:
        return Made(run=fused, artifact=None, notes=tuple(notes), cause=exported["cause"])
    save(exported["program"], path)
    return Made(run=fused, artifact=Artifact(kind="exported", path=path), notes=tuple(notes))


def _inductor(source: Source) -> Made:
    return _compiled(source, compiled, "compiled")


def _autotuned(source: Source) -> Made:
    return _compiled(source, autotuned, "autotuned")


def _compiled(source: Source, make: Callable[[nn.Module], Run], kind: Any) -> Made:
    packed = packed_cause(source.module)
    if packed is not None:
        raise CannotBeMade(packed)
    with silence():
        # Importing the compiler takes a second, and warns of what it imports in its turn.
        from torch._dynamo.utils import counters

    before = counters["inductor"].copy()
    run = make(source.module)
    with silence():
        run(*source.inputs)
    found = fusion(counters["inductor"] - before)
    notes = []
    if found.convolutions or found.linears:
        notes.append(f"{found.convolutions} convolutions and {found.linears} linear layers on integer kernels")
    try:
        graph = Artifact(kind=kind, path=source.stored())
        notes += ["stored as a graph of torch.export, and compiled again where it is loaded", *source.needs()]
        return Made(run=run, artifact=graph, notes=tuple(notes))
    except CannotBeMade as error:
        notes.append("nothing is stored: it is compiled anew in each process, from the model's Python")
        return Made(run=run, artifact=None, notes=tuple(notes), cause=error.cause)


def _package(source: Source) -> Made:
    program = source.program()
    if not any(map(shutil.which, _COMPILERS)):
        raise CannotBeMade(Cause(message="there is no C++ compiler here", remedy="install g++"))
    with silence():
        from torch._inductor import aoti_compile_and_package, config

    artifact = Artifact(kind="package", path=source.folder / "model.pt2")
    try:
        settings = {"freezing": True, **inductor_options(source.module)}
        with silence(), config.patch(settings), torch.no_grad():
            aoti_compile_and_package(program, package_path=str(artifact.path))
            run = load(artifact)
            run(*source.inputs)
    except Exception as error:
        raise CannotBeMade(cause_of(error, remedy="compile where the model is loaded (O2)")) from error
    return Made(run=run, artifact=artifact)


def _onnx(source: Source) -> Made:
    from lowbit.deploy import compile_onnx

    absent = compile_onnx.missing()
    if absent:
        said = f"ONNX needs {', '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not installed"
        raise CannotBeMade(Cause(message=said, remedy="pip install 'stepbench[onnx]'"))
    program, artifact = source.program(), Artifact(kind="onnx", path=source.folder / "model.onnx")
    try:
        with silence(), torch.no_grad():
            compile_onnx.store(program, artifact.path)
            run = load(artifact)
    except Exception as error:
        raise CannotBeMade(cause_of(error, remedy="use a .pt2 package (aoti)")) from error
    return Made(run=run, artifact=artifact)


LEVELS = {
    level.name: level
    for level in (
        Level(name="O0", summary="eager: the model as it is", make=_eager),
        Level(
            name="O1",
            summary="fused: normalizations folded into convolutions, channels_last, no gradients; no compiler",
            make=_fused,
        ),
        Level(
            name="O2",
            summary="torch.compile with weights as constants",
            make=_inductor,
        ),
        Level(name="O3", summary="O2 with kernels chosen by timing them (max-autotune)", make=_autotuned),
        Level(name="aoti", summary="AOTInductor: compiled ahead to a package that needs no compiler", make=_package),
        Level(name="onnx", summary="ONNX, run by onnxruntime; an extra: pip install 'stepbench[onnx]'", make=_onnx),
    )
}
DEFAULT = ("O0", "O1", "O2")


def _norms(module: nn.Module) -> int:
    return sum(isinstance(child, nn.modules.batchnorm._BatchNorm) for child in module.modules())  # noqa: SLF001 - the one class of all dimensions
