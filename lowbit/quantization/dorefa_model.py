"""DoReFa-Net on a whole model: weights, activations and gradients of few bits (Zhou et al., arXiv 1606.06160).

Which layers it takes is found by running the model once: every convolution and linear layer but the first and the
last one that runs. Each gets a weight of few bits, and a gradient of few bits at its output: after a convolution and
before its batch norm. Its input is rounded where no value of it is negative, which is what a ReLU leaves; the
formula clips what is below zero, so inputs of either sign stay in float (behind MobileNetV2's linear bottlenecks,
behind a layer norm).

A shortcut carries its gradient around the quantizers, and where it forks, gradients are added after they were
rounded. With `place="sum"` the sum of a shortcut and its branch gets a quantizer, too.
"""

from __future__ import annotations

import difflib
import operator
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import fx, nn

from lowbit.quantization.dorefa import FULL, check_bits
from lowbit.quantization.dorefa_layers import Bits, GradientQuantizer, IntegerLayer, QuantizedLayer
from lowbit.quantization.flow import Flow, QuantizationError
from lowbit.quantization.kbit_layers import LAYERS, check_padding
from lowbit.quantization.stage import Stage, enter

Place = Literal["branch", "sum"]


def flow(weight_bits: int, activation_bits: int, gradient_bits: int, *, place: Place = "branch", seed: int = 0) -> Flow:
    """Returns the flow W-A-G of some bits, 1 to 8, or 32 for float.

    `place="branch"` rounds gradients at the output of each layer, `"sum"` also at each sum of two tensors, for which
    the model has to be traced. `seed` is that of the noise. Raises QuantizationError for other bits and places.
    """
    bits = Bits(weight=weight_bits, activation=activation_bits, gradient=gradient_bits)
    for each in (weight_bits, activation_bits, gradient_bits):
        check_bits(each)
    if place not in get_args(Place):
        nearest = difflib.get_close_matches(str(place), get_args(Place), n=1)
        hint = f", did you mean {nearest[0]!r}?" if nearest else ""
        raise QuantizationError(f"place={place!r}: must be one of {', '.join(get_args(Place))}{hint}")
    return Flow(prepare=partial(prepare, bits=bits, place=place, seed=seed), convert=convert, trains=True)


def prepare(module: nn.Module, inputs: Sequence[torch.Tensor], bits: Bits, *, place: Place, seed: int) -> nn.Module:
    """Replaces the layers of a model, in place, and returns it, in stage CALIBRATION.

    Only the first batch of `inputs` is looked at. Raises QuantizationError for no batch, for a model without a layer
    between the first and the last, for a convolution that pads with anything but zeros, and for a model that cannot be
    traced where its sums are asked for.
    """
    if not inputs:
        raise QuantizationError("there is no batch to run the model with: give one at least")
    ran = _rectified_inputs(module.eval(), inputs[0])
    if not ran:
        raise QuantizationError(
            f"{type(module).__name__} runs no layer of type Conv2d or Linear, and so has nothing to quantize: choose a "
            "model that has some"
        )
    chosen = list(ran)[1:-1]
    if not chosen:
        raise QuantizationError(
            f"{type(module).__name__} runs {len(ran)} layers of type Conv2d or Linear and none between the first and "
            "the last, which stay in float: DoReFa-Net needs a deeper model"
        )
    for name in chosen:
        check_padding(name, module.get_submodule(name))
    # Every quantizer draws from a generator of its own, so that none depends on the order in which others run.
    for number, name in enumerate(chosen):
        layer = module.get_submodule(name)
        assert isinstance(layer, LAYERS)
        gradient = GradientQuantizer(bits.gradient, seed + number)
        module.set_submodule(name, QuantizedLayer(layer, bits, gradient, quantizes_input=ran[name]))
    if place == "sum" and bits.gradient != FULL:
        module = _with_quantized_sums(module, bits.gradient, seed + len(chosen))
    enter(module, Stage.CALIBRATION)
    return module


def convert(module: nn.Module) -> nn.Module:
    """Replaces layers by such that store codes of one byte, in place, and returns the model in eval mode.

    Layers of 32-bit weights stay as they are. What the model gives is, bit for bit, what it gave in VALIDATION. It
    needs no calibration: the formulas say what ranges are. Raises QuantizationError for a weight that is not finite.
    """
    enter(module, Stage.VALIDATION)
    for name, child in list(module.named_modules()):
        if isinstance(child, QuantizedLayer) and child.bits.weight != FULL:
            try:
                module.set_submodule(name, IntegerLayer(child))
            except QuantizationError as error:
                raise QuantizationError(f"{name}: {error}") from error
        elif isinstance(child, GradientQuantizer) and not isinstance(_parent(module, name), QuantizedLayer):
            module.set_submodule(name, nn.Identity())
    return module.eval()


def _rectified_inputs(module: nn.Module, batch: torch.Tensor) -> dict[str, bool]:
    """Returns the layers in the order in which they run, and whether the input of each has no negative value."""
    found: dict[str, bool] = {}

    def look(name: str, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        rectified = not bool((arguments[0] < 0).any())
        found[name] = found.get(name, True) and rectified

    handles = [
        child.register_forward_pre_hook(partial(look, name))
        for name, child in module.named_modules()
        if type(child) in LAYERS
    ]
    try:
        with torch.no_grad():
            module(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, QuantizedLayer) or super().is_leaf_module(m, module_qualified_name)


def _with_quantized_sums(module: nn.Module, bits: int, seed: int) -> nn.Module:
    try:
        graph = _Tracer().trace(module)
    except Exception as error:
        cause = str(error).split("\n", maxsplit=1)[0]
        raise QuantizationError(
            f"{type(module).__name__} cannot be traced, which place='sum' needs ({cause}); use place='branch'"
        ) from error
    traced = fx.GraphModule(module, graph, type(module).__name__)
    sums = [
        node
        for node in graph.nodes
        if node.target in {operator.add, operator.iadd, torch.add}
        and all(isinstance(part, fx.Node) for part in node.args[:2])
    ]
    for number, node in enumerate(sums):
        name = f"sum_gradient_{number}"
        traced.add_submodule(name, GradientQuantizer(bits, seed + number))
        with graph.inserting_after(node):
            rounded = graph.call_module(name, (node,))
        node.replace_all_uses_with(rounded, delete_user_cb=lambda user, keep=rounded: user is not keep)
    traced.recompile()
    return traced


def _parent(module: nn.Module, name: str) -> nn.Module:
    return module.get_submodule(name.rpartition(".")[0])
