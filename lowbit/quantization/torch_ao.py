"""The one door to torch.ao.quantization, whose removal is announced (pytorch/ao#2259)."""

from __future__ import annotations

import contextlib
import copy
import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, symbolic_trace

from lowbit.quantization.flow import QuantizationError
from lowbit.quantization.stage import Stage

# What torch says of its own parts while it does what it was asked to.
_EXPECTED: tuple[tuple[str, type[Warning]], ...] = (
    # This adapter is the answer to it.
    (r"torch\.ao\.quantization is deprecated", DeprecationWarning),
    # The defaults of x86 and fbgemm use this option of their own observers; once for each observer.
    (r"Please use quant_min and quant_max to specify the range for observers", UserWarning),
    # The packed weights and the activations of its int8 kernels are of these types; once for each process.
    (r".*(quint8|qint8|qint32).*deprecated", UserWarning),
)
_SEVERAL = 2
LINEAR_ONLY = "torch's dynamic kernels are for linear layers; for convolutions use a static flow or QAT"


def available() -> bool:
    """Says whether this torch still has torch.ao.quantization."""
    try:
        eager(), layers(), fx()
    except QuantizationError:
        return False
    return True


def eager() -> Any:
    """Returns the module of the eager flows; raises QuantizationError where torch has it no more."""
    return _door("torch.ao.quantization", "prepare", "prepare_qat", "convert", "quantize_dynamic", "fuse_modules")


def layers() -> Any:
    """Returns the module of quantized layers; raises QuantizationError where torch has it no more."""
    return _door("torch.ao.nn.quantized", "FloatFunctional")


def fx() -> Any:
    """Returns the module of the FX flows; raises QuantizationError where torch has it no more."""
    return _door("torch.ao.quantization.quantize_fx", "prepare_fx", "prepare_qat_fx", "convert_fx")


def keeping_range(*operations: Any) -> Any:
    """Returns torch's table of quantized operations with some more, whose output has the range of their input."""
    api = _door("torch.ao.quantization.backend_config", "get_native_backend_config", "BackendPatternConfig")
    codes = api.DTypeConfig(input_dtype=torch.quint8, output_dtype=torch.quint8)
    kind = api.ObservationType.OUTPUT_SHARE_OBSERVER_WITH_INPUT
    table = api.get_native_backend_config()
    for operation in operations:
        entry = api.BackendPatternConfig(operation).set_observation_type(kind).set_dtype_configs([codes])
        table.set_backend_pattern_config(entry)
    return table


def _door(name: str, *parts: str) -> Any:
    try:
        with quiet():
            module = importlib.import_module(name)
    except ImportError:
        module = None
    missing = [part for part in parts if not hasattr(module, part)]
    if missing:
        raise QuantizationError(
            f"torch {torch.__version__} has no {name}.{missing[0]} any more: use a k-bit or a PT2E flow, or torch 2.13"
        )
    return module


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps back the warnings that torch.ao.quantization gives on itself, and no others."""
    with warnings.catch_warnings():
        for message, category in _EXPECTED:
            warnings.filterwarnings("ignore", message, category)
        yield


def static_qconfig(engine: str, *, per_tensor: bool, qint8_activations: bool = False) -> Any:
    """Returns observers as `engine` has them by default: a histogram for activations, minimum and maximum for weights.

    Weights have a scale for each output channel unless `per_tensor`. With `qint8_activations` the recipe of many
    tutorials comes out, which no kernel of these engines fits: see `fx.static`.
    """
    ao = eager()
    activation = ao.get_default_qconfig(engine).activation
    if qint8_activations:
        activation = ao.HistogramObserver.with_args(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)
    weight = ao.default_weight_observer if per_tensor else ao.default_per_channel_weight_observer
    return ao.QConfig(activation=activation, weight=weight)


def qat_qconfig(engine: str, *, per_tensor: bool) -> Any:
    """Returns fake-quantizers as `engine` had them at first, in version 0: those of version 1 train another model.

    The fused ones round by max(|min| / 2^(b-1), |max| / (2^(b-1) - 1)), and `convert` by max(|min|, |max|) /
    ((2^b - 1) / 2) (pytorch#88800). The plain ones and `convert` ask one observer. What is left of the difference: on
    x86 and fbgemm activations are trained with codes up to 127, but the kernels clamp them at 255, so a value beyond
    the range that was learned is cut in training only.
    """
    ao = eager()
    activation = ao.get_default_qat_qconfig(engine, version=0).activation
    weight = ao.default_weight_fake_quant if per_tensor else ao.default_per_channel_weight_fake_quant
    return ao.QConfig(activation=activation, weight=weight)


def enter(module: nn.Module, stage: Stage) -> None:
    """Puts the observers and fake-quantizers of a prepared model into a stage, and the model into its mode.

    Known by what they can do, so that it serves torchao's as well. A bare observer has no switch: where it must not
    observe, its forward passes values on.
    """
    module.train(stage is Stage.QAT)
    for child in module.modules():
        switches: Any = child
        if hasattr(child, "enable_fake_quant"):
            switches.enable_observer(stage.observes)
            switches.enable_fake_quant(stage.rounds)
        elif hasattr(child, "calculate_qparams"):
            vars(child).pop("forward", None)
            if not stage.observes:
                vars(child)["forward"] = _passed_on


def _passed_on(values: torch.Tensor) -> torch.Tensor:
    return values


def example(inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Returns two samples like those of the first batch, finite ones, to trace and to try a model with.

    Raises QuantizationError for no batch, or an empty one.
    """
    if not inputs or inputs[0].numel() == 0:
        raise QuantizationError("calibration has no batch, or an empty one: give one sample at least")
    batch = inputs[0]
    return torch.nan_to_num(batch.repeat(_SEVERAL, *[1] * (batch.dim() - 1))[:_SEVERAL], 0.0, 0.0, 0.0)


def rehearse(
    prepared: nn.Module, sample: torch.Tensor, convert: Callable[[nn.Module], nn.Module], what: str, remedy: str
) -> None:
    """Takes a copy of a prepared model through calibration and conversion, and runs it.

    What torch has no int8 kernel for shows only when the converted model runs: after the training, were it not for
    this. Raises QuantizationError with what failed.
    """
    trial = copy.deepcopy(prepared)
    with quiet(), torch.no_grad(), explained(f"{what} fails", remedy):
        enter(trial, Stage.CALIBRATION)
        trial(sample)
        enter(trial, Stage.VALIDATION)
        convert(trial)(sample)


@contextlib.contextmanager
def explained(what: str, remedy: str) -> Iterator[None]:
    """Turns whatever a model's own code, or torch in it, raises into a QuantizationError of one line."""
    try:
        yield
    except QuantizationError:
        raise
    except Exception as error:
        raise QuantizationError(f"{what}: {sentence(error)}; {remedy}") from error


def traced(module: nn.Module) -> GraphModule:
    """Returns the graph of a model as it is in eval mode, over its own modules, in the mode that the model is in.

    What its code does by `self.training` would be fixed for good: a dropout that goes on in validation is worse than
    one that is missing in training. Dropout that is a module has both.

    Raises QuantizationError for a model that torch.fx cannot trace.
    """
    mode = module.training
    remedy = "write its forward without len() and branches on tensors, or use a k-bit flow, which traces nothing"
    try:
        with explained(f"{type(module).__name__} cannot be traced by torch.fx", remedy):
            return symbolic_trace(module.eval()).train(mode)
    finally:
        module.train(mode)


def sentence(error: BaseException) -> str:
    """Returns what an error says first, or its kind where it says nothing."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return said.partition(". ")[0].rstrip(".")
