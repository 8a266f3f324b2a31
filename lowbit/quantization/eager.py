"""torch's eager flows: layers are exchanged for quantized ones, and values stay quantized between them."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import nn

from lowbit.quantization import codes, relu6
from lowbit.quantization import engine as engines
from lowbit.quantization.eager_ready import fuse, ready
from lowbit.quantization.flow import Flow
from lowbit.quantization.stage import Stage
from lowbit.quantization.torch_ao import (
    LINEAR_ONLY,
    eager,
    enter,
    example,
    explained,
    qat_qconfig,
    quiet,
    rehearse,
    static_qconfig,
)

_REMEDY = "in eager mode all between input and output is int8: use an FX flow, which leaves what has no kernel in float"


def dynamic(engine: str) -> Flow:
    """Returns the flow that stores weights of linear layers as int8, and measures the range of each input as it comes.

    Convolutions stay as they are: torch has no such kernels for them, and says nothing where they are asked for.
    """
    engines.check(engine)
    return Flow(
        prepare=functools.partial(_prepare_dynamic, engine=engine),
        enter=enter,
        convert=functools.partial(_convert_dynamic, engine=engine),
    )


def static(engine: str, *, per_tensor: bool = False) -> Flow:
    """Returns the flow that quantizes after training; weights have a scale for each output channel, or one.

    Its prepared model only observes, and that in every stage but VALIDATION.
    """
    return _flow(engine, per_tensor=per_tensor, trains=False)


def qat(engine: str, *, per_tensor: bool = False) -> Flow:
    """Returns the flow that trains with rounded weights and activations.

    Its fake-quantizers are the plain ones, so that the converted model has the scales that were trained with.
    """
    return _flow(engine, per_tensor=per_tensor, trains=True)


def _flow(engine: str, *, per_tensor: bool, trains: bool) -> Flow:
    engines.check(engine)
    return Flow(
        prepare=functools.partial(_prepare, engine=engine, per_tensor=per_tensor, trains=trains),
        enter=enter,
        convert=functools.partial(_convert, engine=engine),
        trains=trains,
    )


def _prepare(
    module: nn.Module, inputs: Sequence[torch.Tensor], *, engine: str, per_tensor: bool, trains: bool
) -> nn.Module:
    ao, sample = eager(), example(inputs)
    with quiet():
        qconfig = (qat_qconfig if trains else static_qconfig)(engines.stands_for(engine), per_tensor=per_tensor)
        model = ready(module.train(trains), saturates=relu6.saturates(qconfig))
    with quiet(), explained(f"eager mode cannot prepare {type(module).__name__}", _REMEDY):
        prepared = fuse(model, trains=trains)
        prepared.qconfig = qconfig
        (ao.prepare_qat if trains else ao.prepare)(prepared, inplace=True)
        relu6.bound(prepared, model.bounded)
    enter(prepared, Stage.CALIBRATION)
    what = f"{type(module).__name__} in eager mode on {engine}"
    rehearse(prepared, sample, functools.partial(_convert, engine=engine), what, _REMEDY)
    return prepared


def _convert(module: nn.Module, *, engine: str) -> nn.Module:
    with quiet(), engines.using(engine):
        return engines.OnEngine(codes.lower(eager().convert(module, inplace=True)), engine).eval()


def _prepare_dynamic(module: nn.Module, inputs: Sequence[torch.Tensor], *, engine: str) -> nn.Module:
    eager()
    what = f"{type(module).__name__} with dynamic linear layers on {engine}"
    remedy = "its code may use the weight of a linear layer as a tensor: use an FX or a k-bit flow"
    rehearse(module.eval(), example(inputs), functools.partial(_convert_dynamic, engine=engine), what, remedy)
    return module


def _convert_dynamic(module: nn.Module, *, engine: str) -> nn.Module:
    with quiet(), engines.using(engine):
        converted = eager().quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8, inplace=True)
        return engines.OnEngine(converted, engine, LINEAR_ONLY).eval()
