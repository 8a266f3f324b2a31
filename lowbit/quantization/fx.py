"""torch's FX flows: a traced model, in which what has an int8 kernel is quantized and the rest stays in float."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule
from torch.nn import functional

from lowbit.quantization import codes, relu6
from lowbit.quantization import engine as engines
from lowbit.quantization.flow import Flow
from lowbit.quantization.stage import Stage
from lowbit.quantization.torch_ao import (
    LINEAR_ONLY,
    eager,
    enter,
    example,
    explained,
    fx,
    keeping_range,
    qat_qconfig,
    quiet,
    rehearse,
    static_qconfig,
    traced,
)

_QINT8 = "no engine has kernels for activations of qint8, and FX leaves such layers in float without a word: use quint8"
_REMEDY = "use a k-bit flow, which runs on kernels of float"


def dynamic(engine: str) -> Flow:
    """Returns the flow that stores weights of linear layers as int8, and measures the range of each input as it comes.

    Convolutions only take in the batch normalization that follows them: torch has no such kernels for them.
    """
    return _flow(engine, _dynamic_mapping, trains=False, left_in_float=LINEAR_ONLY)


def static(engine: str, *, per_tensor: bool = False, qint8_activations: bool = False) -> Flow:
    """Returns the flow that quantizes after training; weights have a scale for each output channel, or one.

    `qint8_activations` is a well-known recipe that quantizes nothing: the engines' kernels take activations of
    quint8, so every layer is left in float, without a word (pytorch#85851). It is here as the example by which
    `coverage` is tested.
    """
    mapping = _qint8_mapping if qint8_activations else _static_mapping
    left = _QINT8 if qint8_activations else ""
    return _flow(engine, functools.partial(mapping, engine, per_tensor=per_tensor), trains=False, left_in_float=left)


def qat(engine: str, *, per_tensor: bool = False) -> Flow:
    """Returns the flow that trains with rounded weights and activations.

    Its fake-quantizers are the plain ones, so that the converted model has the scales that were trained with.
    """
    return _flow(engine, functools.partial(_qat_mapping, engine, per_tensor=per_tensor), trains=True)


def _flow(engine: str, mapping: Callable[[], Any], *, trains: bool, left_in_float: str = "") -> Flow:
    engines.check(engine)
    convert = functools.partial(_convert, engine=engine, left_in_float=left_in_float)
    # What leaves convolutions in float has nothing to fuse a ReLU6 with.
    prepare = functools.partial(
        _prepare, convert=convert, mapping=mapping, trains=trains, folds_relu6=not left_in_float
    )
    return Flow(
        prepare=prepare,
        enter=enter,
        convert=convert,
        trains=trains,
    )


# torch's tables say how operations of a fixed range are quantized, such as sigmoid; the rest is as we say.
def _static_mapping(engine: str, *, per_tensor: bool) -> Any:
    return (
        eager()
        .get_default_qconfig_mapping(engine)
        .set_global(static_qconfig(engines.stands_for(engine), per_tensor=per_tensor))
    )


def _qint8_mapping(engine: str, *, per_tensor: bool) -> Any:
    return eager().QConfigMapping().set_global(static_qconfig(engine, per_tensor=per_tensor, qint8_activations=True))


def _qat_mapping(engine: str, *, per_tensor: bool) -> Any:
    mapping = eager().get_default_qat_qconfig_mapping(engine, version=0)
    return mapping.set_global(qat_qconfig(engines.stands_for(engine), per_tensor=per_tensor))


def _dynamic_mapping() -> Any:
    ao = eager()
    return ao.QConfigMapping().set_global(ao.default_dynamic_qconfig)


def _prepare(
    module: nn.Module,
    inputs: Sequence[torch.Tensor],
    *,
    convert: Callable[[nn.Module], nn.Module],
    mapping: Callable[[], Any],
    trains: bool,
    folds_relu6: bool,
) -> nn.Module:
    ao, sample = fx(), example(inputs)
    prepare = ao.prepare_qat_fx if trains else ao.prepare_fx
    graph_module = traced(module.train(trains))
    with quiet(), explained(f"FX cannot prepare {type(module).__name__}", _REMEDY):
        chosen, bounded = mapping(), tuple[str, ...]()
        if folds_relu6:
            bounded = relu6.fold(graph_module, saturates=relu6.saturates(chosen.global_qconfig))
        prepared: GraphModule = prepare(graph_module, chosen, (sample,), backend_config=_table())
        relu6.bound(prepared, bounded)
    enter(prepared, Stage.CALIBRATION)
    rehearse(prepared, sample, convert, f"{type(module).__name__} in FX", _REMEDY)
    return prepared


def _convert(module: nn.Module, *, engine: str, left_in_float: str) -> nn.Module:
    with quiet(), engines.using(engine):
        converted = codes.lower(fx().convert_fx(module, backend_config=_table()))
        return engines.OnEngine(converted, engine, left_in_float).eval()


def _table() -> Any:
    """Returns torch's table with what it leaves in float, though it only moves values; `codes.lower` relies on it."""
    return keeping_range(functional.pad, "flatten")
