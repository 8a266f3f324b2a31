"""PT2E: a graph of torch.export, quantized by torchao's quantizer for inductor on x86, to be compiled.

What comes out computes in float, between roundings and back, at half the speed of float: integer kernels are what
inductor makes of it where weights are constants (`freezing`). torchao is an extra of its own: `pip install
stepbench[pt2e]`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from lowbit.quantization.flow import Flow, QuantizationError
from lowbit.quantization.pt2e_graph import forget_unread, name_functions, norms, turn
from lowbit.quantization.pt2e_products import inductor_options, write_products
from lowbit.quantization.stage import Stage
from lowbit.quantization.torch_ao import enter, example, explained

_REMEDY = "use a k-bit flow, which exports nothing"
_EXPECTED: tuple[tuple[str, type[Warning]], ...] = (
    # torchao's import still makes a method by it.
    (r"`torch\.jit\.script_method` is deprecated", DeprecationWarning),
    # It stays in float, as the quantizer's table says.
    (r"The input of maxpool2d is not quantized", UserWarning),
    # Inductor copies the zero points of linear layers by it.
    (r"To copy construct from a tensor, it is recommended", UserWarning),
)
# What is logged while torchao is imported: extensions for other devices, and a type that registers itself twice; and
# what torch.export logs before it raises.
_LOGGERS = ("torchao", "torch.utils._pytree", "torch.fx.experimental.symbolic_shapes")
_LOGGED = ("Failed to load", "<enum 'KernelPreference'>", "Unable to find user code")
# By what torch.export says.
_REMEDIES = {
    "data-dependent": f"what it does depends on values: write it with torch.where or torch.cond, or {_REMEDY}",
    "specialized it to be a constant": "write its forward without len()",
}


def static() -> Flow:
    """Returns the flow that quantizes after training: activations by a histogram, weights by output channel."""
    return _flow(trains=False, is_dynamic=False)


def dynamic() -> Flow:
    """Returns the flow that measures the range of each input as it comes; weights by output channel.

    Inductor has integer kernels of this kind for linear layers; convolutions are computed in float even when compiled.
    """
    return _flow(trains=False, is_dynamic=True)


def qat() -> Flow:
    """Returns the flow that trains with rounded weights and activations, by plain fake-quantizers.

    Converting a model with batch normalization takes half a minute, whatever its size.
    """
    return _flow(trains=True, is_dynamic=False)


class Exported(nn.Module):
    """An exported graph that can be told to train and to evaluate, as any module.

    torchao's own switch gives each dropout a probability of one half, and batch normalization the default epsilon and
    momentum; this one only turns the modes that stand in the graph. What a model's code does by `self.training` was
    exported as it is in eval mode.
    """

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__()
        self.graph_module = graph_module

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Runs the graph."""
        return self.graph_module(*inputs)

    @property
    def inductor_options(self) -> dict[str, object]:
        """Settings of `torch._inductor.config` to compile it with, beside `freezing`."""
        return inductor_options(self.graph_module)

    def train(self, mode: bool = True) -> Exported:  # noqa: FBT001, FBT002 - the signature of nn.Module
        """Turns the graph to training, or to evaluation."""
        turn(self.graph_module, trains=mode)
        self.training = mode
        return self


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """How many layers inductor made integer kernels of, and how many of the convolutions took in an addition."""

    convolutions: int
    linears: int
    additions: int


def fusion(counts: Mapping[str, int]) -> Fusion:
    """Returns what was fused, by inductor's counters: `torch._dynamo.utils.counters["inductor"]`, or a part of them."""
    return Fusion(
        convolutions=counts.get("qconv_weight_prepack_matcher_count", 0),
        linears=counts.get("qlinear_weight_prepack_matcher_count", 0),
        additions=counts.get("qconv2d_binary_matcher_count", 0),
    )


def _flow(*, trains: bool, is_dynamic: bool) -> Flow:
    prepare = functools.partial(_prepare, trains=trains, is_dynamic=is_dynamic)
    return Flow(prepare=prepare, enter=enter, convert=_convert, trains=trains)


def _prepare(module: nn.Module, inputs: Sequence[torch.Tensor], *, trains: bool, is_dynamic: bool) -> nn.Module:
    api, sample = _torchao("quantize_pt2e"), example(inputs)
    name = type(module).__name__
    graph_module = _exported(module.eval(), sample)
    name_functions(graph_module)
    turn(graph_module, trains=trains)
    own_norms = norms(graph_module)
    with _quiet(), explained(f"PT2E cannot quantize {name}", _REMEDY):
        quantizer = _torchao("quantizer.x86_inductor_quantizer").X86InductorQuantizer()
        quantizer.set_global(_configuration(trains=trains, is_dynamic=is_dynamic))
        for pool in [found for found, child in module.named_modules() if isinstance(child, nn.MaxPool2d)]:
            # On codes it would be torch's own kernel, one value at a time; in float inductor's takes in the rounding.
            quantizer.set_module_name_qconfig(pool, None)
        prepared = Exported((api.prepare_qat_pt2e if trains else api.prepare_pt2e)(graph_module, quantizer))
    if trains and norms(prepared.graph_module) != own_norms:
        raise QuantizationError(
            f"PT2E would train {name} with the default momentum and epsilon of batch normalization instead of its own: "
            "use those, 0.1 and 1e-5, or another QAT flow"
        )
    prepared.training = trains
    enter(prepared, Stage.CALIBRATION)
    return prepared


def _exported(module: nn.Module, sample: torch.Tensor) -> fx.GraphModule:
    shape = (torch.export.Dim.DYNAMIC, *[torch.export.Dim.STATIC] * (sample.dim() - 1))
    try:
        with _quiet(), _unprinted():
            program = torch.export.export(module, (sample,), dynamic_shapes=(shape,))
            # Its checks would refuse a batch of one, which the graph takes as well as any other.
            return program.module(check_guards=False)
    except Exception as error:
        remedy = next((remedy for said, remedy in _REMEDIES.items() if said in str(error)), _REMEDY)
        with explained(f"{type(module).__name__} cannot be exported by torch.export", remedy):
            raise


def _convert(module: nn.Module) -> nn.Module:
    assert isinstance(module, Exported)
    with _quiet(), explained("PT2E cannot convert the model", _REMEDY):
        graph_module = _torchao("quantize_pt2e").convert_pt2e(module.graph_module)
    write_products(graph_module)
    forget_unread(graph_module)
    return Exported(graph_module).eval()


def _configuration(*, trains: bool, is_dynamic: bool) -> Any:
    """Returns the quantizer's default settings, with plain fake-quantizers in place of the fused ones.

    The fused ones train with other scales than `convert` gives, as those of torch.ao do (pytorch#88800).
    """
    found = _torchao("quantizer.x86_inductor_quantizer").get_default_x86_inductor_quantization_config(
        is_qat=trains, is_dynamic=is_dynamic
    )
    if not trains:
        return found
    parts = _torchao("")
    for names, observer in (
        (("input_activation", "output_activation"), parts.MovingAverageMinMaxObserver),
        (("weight",), parts.MovingAveragePerChannelMinMaxObserver),
    ):
        make = parts.FakeQuantize.with_args(observer=observer, eps=2**-12)
        changes = {name: dataclasses.replace(getattr(found, name), observer_or_fake_quant_ctr=make) for name in names}
        found = dataclasses.replace(found, **changes)
    return found


def _torchao(name: str) -> Any:
    """Returns a module of torchao's PT2E; raises QuantizationError where torchao is not installed, or has it not."""
    full = f"torchao.quantization.pt2e.{name}".rstrip(".")
    try:
        with _quiet():
            return importlib.import_module(full)
    except ImportError as error:
        raise QuantizationError(f"PT2E needs torchao ({error}): pip install 'stepbench[pt2e]'") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back the warnings and the log lines that are expected, and no others."""

    def unexpected(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(_LOGGED)

    loggers = [logging.getLogger(logger) for logger in _LOGGERS]
    for logger in loggers:
        logger.addFilter(unexpected)
    try:
        with warnings.catch_warnings():
            for message, category in _EXPECTED:
                warnings.filterwarnings("ignore", message, category)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(unexpected)


@contextlib.contextmanager
def _unprinted() -> Iterator[None]:
    """Drops what is printed to stderr by what fails: torch.export prints its graph there before it raises."""
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        yield
    sys.stderr.write(printed.getvalue())
