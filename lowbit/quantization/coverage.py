"""How much of a model was really quantized: a flow that did nothing mostly does not say so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn

from lowbit.quantization.pt2e_graph import constant
from lowbit.quantization.stage import Stage, Staged

LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_IN_PROJECTION = "MultiheadAttention's projection of its inputs"
_EXPORTED = {
    torch.ops.aten.linear.default: "Linear",
    torch.ops.aten.conv1d.default: "Conv1d",
    torch.ops.aten.conv2d.default: "Conv2d",
    torch.ops.aten.conv3d.default: "Conv3d",
    torch.ops.aten.conv_transpose1d.default: "ConvTranspose1d",
    torch.ops.aten.conv_transpose2d.input: "ConvTranspose2d",
    torch.ops.aten.conv_transpose3d.input: "ConvTranspose3d",
}
_INTEGERS = frozenset({torch.int8, torch.uint8, torch.qint8, torch.quint8})


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How many of the layers that could be quantized are, and where not all are, why."""

    quantized: int
    eligible: int
    cause: str = ""


def coverage(before: nn.Module, after: nn.Module) -> Coverage:
    """Counts the layers of a float model, and those that compute with or store a weight of few bits in what it became.

    Eligible is each convolution and each linear layer, called or not, and one more for the parameter in which
    `nn.MultiheadAttention` keeps the three projections of its inputs. Quantized are layers of torch.ao with a packed
    weight, layers whose weight a fake-quantizer rounds at the moment, nodes of an exported graph with a weight of
    integers or a rounded one, and modules that say `quantizes_weight`, in stages that round.

    A module of `after` may say in `left_in_float` what its flow leaves out and what to do about it.
    """
    found = list(_layers(after, set()))
    eligible = sum(1 for _ in _float_layers(before))
    quantized = sum(1 for _, is_quantized in found if is_quantized)
    left = Counter(kind for kind, is_quantized in found if not is_quantized)
    return Coverage(quantized=quantized, eligible=eligible, cause=_cause(after, quantized, eligible, left))


def _cause(after: nn.Module, quantized: int, eligible: int, left: Counter[str]) -> str:
    if eligible == 0:
        return "the model has no convolution and no linear layer"
    if quantized == 0 and _calibrates(after):
        return "the model is in stage CALIBRATION, in which nothing is rounded: enter QAT or VALIDATION"
    said = next((child.left_in_float for child in after.modules() if hasattr(child, "left_in_float")), "")
    if quantized == 0:
        return str(said) or "every layer was left in float, and the flow does not say why"
    if quantized >= eligible or not left:
        return ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
    return f"left in float: {kinds}" + (f"; {said}" if said else "")


def _float_layers(module: nn.Module) -> Iterator[str]:
    for child in module.modules():
        if isinstance(child, LAYERS):
            yield _kind(child)
        elif isinstance(child, nn.MultiheadAttention):
            yield _IN_PROJECTION


def _layers(module: nn.Module, seen: set[int]) -> Iterator[tuple[str, bool]]:
    """Yields the kind of each layer, and whether it is quantized; what is inside of a quantized one is a part of it."""
    if id(module) in seen:
        return
    seen.add(id(module))
    if _has_low_bits(module):
        yield _kind(module), True
        return
    if isinstance(module, LAYERS):
        yield _kind(module), False
    elif isinstance(module, nn.MultiheadAttention):
        yield _IN_PROJECTION, False
    if isinstance(module, fx.GraphModule):
        yield from _exported_layers(module)
    for child in module.children():
        yield from _layers(child, seen)


def _has_low_bits(module: Any) -> bool:
    if getattr(module, "quantizes_weight", False):
        return not _calibrates(module)
    fake_quantizer = getattr(module, "weight_fake_quant", None)
    if fake_quantizer is not None:
        return _rounds(fake_quantizer)
    # torch.ao's layers give their weight by a method, unpacked; a float layer has it as a parameter.
    weight = getattr(module, "weight", None)
    return callable(weight) and not isinstance(weight, torch.Tensor) and weight().dtype in _INTEGERS


def _exported_layers(module: fx.GraphModule) -> Iterator[tuple[str, bool]]:
    weights: dict[Any, tuple[str, bool]] = {}
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target in _EXPORTED:
            source, is_quantized = _weight(module, node.args[1])
            weights[source] = (_EXPORTED[node.target], is_quantized)
    yield from weights.values()


def _weight(module: fx.GraphModule, value: Any) -> tuple[Any, bool]:
    """Returns where a weight in a graph comes from, and whether it is one of integers, or rounded on its way."""
    rounded = False
    while isinstance(value, fx.Node) and value.op != "get_attr":
        if value.op == "call_module":
            rounded = rounded or _rounds(module.get_submodule(str(value.target)))
        value = next(iter(value.all_input_nodes), None)
    if not isinstance(value, fx.Node):
        return value, rounded
    return value.target, rounded or constant(module, value).dtype in _INTEGERS


def _rounds(quantizer: Any) -> bool:
    return bool(getattr(quantizer, "fake_quant_enabled", torch.zeros(1))[0])


def _calibrates(module: nn.Module) -> bool:
    stages = {child.stage for child in module.modules() if isinstance(child, Staged)}
    switched = [_rounds(child) for child in module.modules() if hasattr(child, "fake_quant_enabled")]
    return Stage.CALIBRATION in stages or (bool(switched) and not any(switched))


def _kind(module: nn.Module) -> str:
    return next((layer.__name__ for layer in LAYERS if isinstance(module, layer)), type(module).__name__)
