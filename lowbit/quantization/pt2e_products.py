"""1x1 convolutions of integers, written as products of matrices, for which inductor has kernels of its own.

A convolution of integers is a call of oneDNN's, around which torch builds and looks up a description each time (17 µs
of the 50 that a layer of MobileNetV2 takes at batch 32), and beside an addition it copies the other addend. A product
of matrices is a loop that inductor writes, with ReLU6, addition and rounding inside. What it computes is the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import fx, nn

from lowbit.quantization.pt2e_graph import constant

_aten = torch.ops.aten
_PER_TENSOR = "quantized_decomposed.dequantize_per_tensor.default"
_PER_CHANNEL = "quantized_decomposed.dequantize_per_channel.default"
# What a dot product of VNNI takes at once. Of other depths inductor makes a loop of single values.
_DEPTH = 4
_PICTURES = 4
# What may be computed by inductor's kernels for products, and what depends on how values lie in memory.
_PRODUCTS = frozenset({
    _aten.linear, _aten.matmul, _aten.mm, _aten.addmm, _aten.mv, _aten.addmv, _aten.bmm, _aten.baddbmm, _aten.einsum,
    _aten.conv1d, _aten.conv2d, _aten.conv3d,
})  # fmt: skip
_LAYOUTS = frozenset({_aten.as_strided.default, _aten.view.dtype})
# Of a convolution's bias, stride, padding, dilation and groups.
_DEFAULTS: tuple[Any, ...] = (None, [1, 1], [0, 0], [1, 1], 1)
_OF_ITS_OWN: dict[str, object] = {"max_autotune_gemm": True, "max_autotune_gemm_backends": "CPP"}


def write_products(graph_module: fx.GraphModule) -> None:
    """Makes a product of matrices of each convolution that is one, in place: 1x1, in steps of 1, of integers.

    Its channels have to lie side by side, so inputs of four dimensions are laid out that way first. A graph that looks
    at how values lie in memory is left as it is; a view becomes a reshape, which asks only what they are.
    """
    graph = graph_module.graph
    found = [] if any(node.target in _LAYOUTS for node in graph.nodes) else list(_pointwise(graph_module))
    for node, weight in found:
        inputs, scaled, *bias = node.args[:3]
        matrix = constant(graph_module, weight)
        owner, _, name = str(weight.target).rpartition(".")
        setattr(graph_module.get_submodule(owner), name, matrix.reshape(matrix.shape[:2]))
        with graph.inserting_before(node):
            last = graph.call_function(_aten.permute.default, (inputs.args[0], [0, 2, 3, 1]))
            floats = graph.call_function(inputs.target, (last, *inputs.args[1:]), inputs.kwargs)
            product = graph.call_function(_aten.linear.default, (floats, scaled, *bias))
            first = graph.call_function(_aten.permute.default, (product, [0, 3, 1, 2]))
        for made in (last, floats, product, first):
            made.meta = {key: value for key, value in node.meta.items() if key not in ("val", "tensor_meta")}
        node.replace_all_uses_with(first)
        graph.erase_node(node)
    if found:
        _side_by_side(graph)
        for node in graph.nodes:
            if node.target is _aten.view.default:
                node.target = _aten.reshape.default
        graph.eliminate_dead_code()
        graph_module.recompile()


def inductor_options(module: nn.Module) -> dict[str, object]:
    """Returns what to compile a converted model with, beside `freezing`: settings of `torch._inductor.config`.

    Products of matrices get kernels of inductor's own, without timing others, where the processor multiplies bytes
    (VNNI or AMX) and all of a graph are such as these kernels take: with ranges that were calibrated, and a depth of
    whole steps. For others inductor would have no kernel at all, or a wrong one: with ranges that are measured as
    values come, what it makes writes over memory that is not its own (torch 2.13).
    """
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    if not (capabilities.get("avx512_vnni") or capabilities.get("amx_int8")):
        return {}
    graphs = [child for child in module.modules() if isinstance(child, fx.GraphModule)]
    takes = [_takes(graph, node) for graph in graphs for node in graph.graph.nodes if _multiplies(node)]
    return dict(_OF_ITS_OWN) if takes and all(takes) else {}


def _multiplies(node: fx.Node) -> bool:
    return getattr(node.target, "overloadpacket", None) in _PRODUCTS


def _takes(graph_module: fx.GraphModule, node: fx.Node) -> bool:
    """Says whether a product is one of integers, and if it is no convolution, of a depth that kernels take."""
    codes = _codes(node.args[1]) if _is_calibrated(node) else None
    if codes is None or node.target not in (_aten.linear.default, _aten.conv2d.default):
        return False
    return node.target is _aten.conv2d.default or constant(graph_module, codes).shape[1] % _DEPTH == 0


def _is_calibrated(node: fx.Node) -> bool:
    return isinstance(node.args[0], fx.Node) and str(node.args[0].target) == _PER_TENSOR


def _pointwise(graph_module: fx.GraphModule) -> Iterator[tuple[Any, fx.Node]]:
    """Yields each convolution that is a product of matrices, and the node of its codes, which nobody else reads."""
    nodes: list[Any] = list(graph_module.graph.nodes)
    reads: Counter[str] = Counter()
    for node in nodes:
        if node.op == "get_attr":
            reads[str(node.target)] += len(node.users)
    for node in nodes:
        if node.target is not _aten.conv2d.default or not _is_calibrated(node) or not _pictures(node):
            continue
        codes = _codes(node.args[1])
        if codes is None or reads[str(codes.target)] > 1 or len(node.args[1].users) > 1:
            continue
        _, stride, padding, _, groups = tuple(node.args[2:]) + _DEFAULTS[len(node.args) - 2 :]
        stays = (list(stride), list(padding), groups) == ([1, 1], [0, 0], 1)
        shape = constant(graph_module, codes).shape
        if stays and shape[2:] == (1, 1) and shape[1] % _DEPTH == 0:
            yield node, codes


def _pictures(node: fx.Node) -> bool:
    """Says whether a node's value has a batch, channels, height and width."""
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dim() == _PICTURES


def _codes(weight: Any) -> fx.Node | None:
    """Returns the node of the integers that a layer's weight is made of, if it is made of integers."""
    if not isinstance(weight, fx.Node) or str(weight.target) != _PER_CHANNEL:
        return None
    codes = weight.args[0]
    return codes if isinstance(codes, fx.Node) and codes.op == "get_attr" else None


def _side_by_side(graph: fx.Graph) -> None:
    for node in [node for node in graph.nodes if node.op == "placeholder"]:
        if _pictures(node):
            with graph.inserting_after(node):
                laid_out = graph.call_function(_aten.clone.default, (node,), {"memory_format": torch.channels_last})
            laid_out.meta = dict(node.meta)
            node.replace_all_uses_with(laid_out, delete_user_cb=lambda user, own=laid_out: user is not own)
