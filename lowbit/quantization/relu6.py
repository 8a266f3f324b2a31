"""ReLU6 behind a layer: torch fuses none with it, so that it costs a pass of its own and most of the layer's codes.

Alone it keeps the scale of the layer before it, whose range is that of the sum: of 256 codes for -15 to 15 it keeps
fifty. A layer that is fused with a plain ReLU, and whose output was observed after the bound, has all its codes between
0 and 6. Kernels saturate at the top code, so where that stands for 6 at most, they *are* a ReLU6 and it can go. The
engines that keep a bit free (x86, fbgemm: ranges up to code 127, kernels up to 255) need it still.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from lowbit.quantization.coverage import LAYERS

_FUSED = (nn.Conv2d, nn.Linear)
_JOINED = frozenset({torch.cat, torch.concat, torch.stack})


def is_relu6(module: fx.GraphModule, node: fx.Node) -> bool:
    """Says whether a node of a graph is a ReLU6, a module or a function."""
    if node.op == "call_module":
        return type(module.get_submodule(str(node.target))) is nn.ReLU6
    return node.op == "call_function" and node.target is functional.relu6


def fold(module: fx.GraphModule, *, saturates: bool) -> tuple[str, ...]:
    """Puts a ReLU behind each layer that a ReLU6 alone follows, where torch fuses it, and returns the layers' names.

    With `saturates` it takes the place of the ReLU6. What is left out is made up for by `bound`, which the prepared
    model needs. A layer may have its batch normalization between. Where values are joined with others, which gives all
    of them one range, everything stays as it is.
    """
    called = Counter(node.target for node in module.graph.nodes if node.op == "call_module")
    found: list[str] = []
    for node in list(module.graph.nodes):
        layer = _layer_before(module, node, called) if is_relu6(module, node) and not _is_joined(module, node) else None
        if layer is None:
            continue
        name = f"bounded{len(found)}"
        module.add_submodule(name, nn.ReLU().train(module.training))
        with module.graph.inserting_before(node):
            relu = module.graph.call_module(name, (node.args[0],))
        if saturates:
            node.replace_all_uses_with(relu)
            module.graph.erase_node(node)
        else:
            node.update_arg(0, relu)
        found.append(str(layer.target))
    module.recompile()
    return tuple(found)


def bound(prepared: fx.GraphModule, layers: tuple[str, ...]) -> None:
    """Lets the observers of these layers' outputs see, and pass on, what a ReLU6 gives; conversion drops them."""
    nodes = {str(node.target): node for node in prepared.graph.nodes if node.op == "call_module"}
    for name in layers:
        observer: Any = getattr(prepared.get_submodule(name), "activation_post_process", None)
        if observer is None:
            # FX has it as a node.
            (user,) = nodes[name].users
            observer = prepared.get_submodule(str(user.target))
        observer.register_forward_pre_hook(_bounded)


def saturates(qconfig: Any) -> bool:
    """Says whether the observed range ends at the top code of the kernels, where they clamp."""
    return bool(qconfig.activation().quant_max == torch.iinfo(torch.uint8).max)


def _bounded(_observer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
    return (functional.relu6(inputs[0]),)


def _layer_before(module: fx.GraphModule, node: fx.Node, called: Counter[Any]) -> fx.Node | None:
    before, layer = None, node.args[0]
    for _ in range(2):
        if not isinstance(layer, fx.Node) or layer.op != "call_module" or called[layer.target] > 1:
            return None
        if len(layer.users) > 1:
            return None
        kind = type(module.get_submodule(str(layer.target)))
        if kind in _FUSED:
            return layer if before is None or kind is nn.Conv2d else None
        if kind is not nn.BatchNorm2d or before is not None:
            return None
        before, layer = layer, layer.args[0]
    return None


def _is_joined(module: fx.GraphModule, node: fx.Node) -> bool:
    """Says whether values are joined with others as they are, or after operations that keep their range."""
    return any(
        user.target in _JOINED or (_keeps_range(module, user) and _is_joined(module, user)) for user in node.users
    )


def _keeps_range(module: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), LAYERS):
        return False
    return len(node.all_input_nodes) == 1
