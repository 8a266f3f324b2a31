from __future__ import annotations

import pytest
import torch
from torch import fx, nn

from lowbit.deploy.trace import trace
from lowbit.quantization.flow import quantized
from lowbit.quantization.flows import flow
from tests.lowbit.quantization.small import Small, batches


class Written(nn.Module):
    """Writes into a part of a tensor that it reads again, and adds in place."""

    def forward(self, values):
        whole = values * 2
        part = whole[:1]
        part += 1
        return whole.relu_() + values


def names(traced):
    return [operation.name for operation in traced.operations]


def producers(traced):
    return {number: operation for operation in traced.operations for number in operation.outputs}


def test_values_are_numbered_and_what_a_model_takes_and_gives_is_known():
    layer = nn.Linear(3, 2)
    traced = trace(layer, torch.randn(5, 3))
    assert [value.id for value in traced.values] == list(range(len(traced.values)))
    (product,) = (each for each in traced.operations if each.category == "product")
    kinds = [traced.values[number].kind for number in product.inputs]
    assert (product.name, product.macs, kinds) == ("aten::addmm", 5 * 3 * 2, ["weight", "input", "weight"])
    assert traced.output == product.outputs
    assert traced.values[traced.output[0]].shape == (5, 2)


def test_a_value_that_is_written_is_another_one_and_so_is_what_shares_its_memory():
    traced = trace(Written(), torch.randn(2, 3))
    made = producers(traced)
    multiplied, selected, added, rectified, total = traced.operations
    assert (selected.is_view, added.is_view) == (True, False)
    assert added.inputs == selected.outputs
    assert added.outputs != added.inputs
    # The whole tensor is read after a part of it was written: it comes from the addition, not from the product.
    assert rectified.inputs == added.aliases
    assert multiplied.outputs[0] not in rectified.inputs
    assert made[total.inputs[0]] is rectified
    storages = {traced.values[number].storage for number in (*multiplied.outputs, *added.outputs, *rectified.outputs)}
    assert len(storages) == 1


def test_an_expanded_tensor_takes_no_more_memory_than_what_is_expanded():
    class Expanding(nn.Module):
        def forward(self, values):
            return values.expand(100, 4) + 1

    traced = trace(Expanding(), torch.randn(1, 4))
    assert [traced.values[number].bytes for number in traced.operations[0].outputs] == [16]


def test_tensors_without_a_storage_are_values_too():
    class Sparse(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.eye(4).to_sparse()

        def forward(self, values):
            return torch.sparse.mm(self.weight, values).to_mkldnn().to_dense()

    traced = trace(Sparse(), torch.randn(4, 4))
    # Of four numbers that are not 0: each with two indices of int64.
    assert next(value.bytes for value in traced.values if value.kind == "weight") == 4 * (2 * 8 + 4)
    assert traced.values[traced.output[0]].bytes == 64


def test_operations_know_the_innermost_module_and_the_node_of_a_graph():
    written = trace(Small().eval(), batches(1)[0])
    layers = {operation.name: operation.layer for operation in written.operations}
    assert layers["aten::convolution"] == "block"
    assert (layers["aten::add_"], layers["aten::addmm"]) == ("", "classifier")
    graph = trace(fx.symbolic_trace(Small().eval()), batches(1)[0])
    nodes = {operation.name: operation for operation in graph.operations}
    assert nodes["aten::addmm"].layer == "classifier"
    # What is written in place is an addition of its own in a graph of fx.
    assert (nodes["aten::add"].layer, nodes["aten::add"].is_function) == ("add", True)


def test_a_module_is_left_as_it_was():
    graph = fx.symbolic_trace(Small().eval())
    before = graph.code
    assert not trace(graph, batches(1)[0]).operations[0].is_view
    assert "forward" not in vars(graph)
    assert graph.code == before
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in graph.modules())


def test_it_is_left_as_it_was_where_it_fails_too():
    module = Small().eval()
    with pytest.raises(RuntimeError):
        trace(module, torch.randn(1, 4, 32, 32))
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())


def test_packed_weights_are_values_with_their_scales():
    module = quantized(flow("fx-static-x86"), Small().eval(), batches(), trains=False)
    traced = trace(module, batches(1)[0])
    stem = next(operation for operation in traced.operations if operation.layer == "stem")
    weight, bias = (traced.values[number] for number in stem.inputs[1:])
    assert (stem.name, stem.macs) == ("quantized::conv2d_relu", 4 * 8 * 15 * 15 * 27)
    assert (weight.kind, weight.dtype, weight.shape) == ("weight", "qint8", (8, 3, 3, 3))
    # A scale of fp64 and a zero point of int64 for each of eight channels.
    assert weight.bytes == 8 * 27 + 8 * (8 + 8)
    assert (bias.dtype, bias.bytes) == ("float32", 32)


def test_a_graph_of_pt2e_has_the_layers_of_the_model_it_was_made_of():
    pytest.importorskip("torchao")
    module = quantized(flow("pt2e-static"), Small().eval(), batches(), trains=False)
    traced = trace(module, batches(1)[0])
    calls = {}
    for operation in traced.operations:
        calls.setdefault(operation.layer, []).append(operation.name.partition("::")[2])
    # Its input and its weight come as integers; the rounding behind belongs to the ReLU6 whose values it rounds.
    assert calls["stem"] == ["dequantize_per_channel", "dequantize_per_tensor", "convolution"]
    assert calls["relu"] == ["hardtanh", "quantize_per_tensor"]
    assert {"stem", "block", "classifier"} <= set(calls)


def test_a_layer_of_few_bits_is_one_layer_whatever_stands_in_it():
    module = quantized(flow("kbit-8-all-layers"), Small().eval(), batches(), trains=False)
    traced = trace(module, batches(1)[0])
    assert not any("." in operation.layer for operation in traced.operations)
