"""The picture of a model: a box for each layer, true edges, titles with figures, and text that cannot break out."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest
import torch
from torch import nn

from lowbit.deploy.picture import graph_svg
from lowbit.deploy.picture_nodes import graph
from lowbit.deploy.picture_style import color_class
from lowbit.deploy.picture_words import clipped
from lowbit.deploy.trace import trace
from lowbit.quantization.flow import quantized
from lowbit.quantization.flows import flow
from tests.lowbit.deploy import models

PICTURES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
SVG = "{http://www.w3.org/2000/svg}"


class Residual(nn.Module):
    """Two convolutions with what belongs to them, a shortcut, a view, and a classifier."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.classifier = nn.Linear(256, 10)

    def forward(self, pictures):
        values = torch.relu(self.norm(self.first(pictures)))
        values = torch.relu(values + self.second(values))
        return self.classifier(values.flatten(1))


@pytest.fixture(scope="module")
def traced():
    return trace(Residual().eval(), PICTURES)


@pytest.fixture(scope="module")
def int8():
    torch.manual_seed(0)
    return trace(quantized(flow("fx-static-x86"), Residual(), [PICTURES], trains=False), PICTURES)


def titles(svg):
    root = ET.fromstring(svg)
    return [element.text for element in root.iter(f"{SVG}title")]


def test_a_layer_is_one_node_with_the_norm_and_the_activation_that_it_feeds(traced):
    found = graph(traced)
    assert [node.label for node in found.nodes] == [
        "input", "first", "second", "add · relu", "classifier", "output",
    ]  # fmt: skip
    assert found.nodes[1].kinds == ("Conv2d", "BatchNorm2d", "relu")
    assert found.edges == ((0, 1), (1, 2), (1, 3), (2, 3), (3, 4), (4, 5))


def test_figures_of_a_node_are_those_of_its_layer(traced):
    first, second = graph(traced).nodes[1:3]
    # Each output sums over three by three and all channels; a multiply-accumulate is two operations.
    assert first.operations == 2 * 2 * 4 * 8 * 8 * 3 * 9
    assert second.operations == 2 * 2 * 4 * 8 * 8 * 4 * 9
    # Weights of the convolution, and four vectors of the normalization.
    assert dict(first.weights) == {"float32": 4 * (4 * 3 * 9 + 4 * 4)}
    assert (first.loaded, first.stored) == (4 * PICTURES.numel(), 4 * 2 * 4 * 8 * 8)
    assert (first.shape, first.precision, first.is_quantized) == ((2, 4, 8, 8), "float32", False)


def test_all_operations_of_a_trace_are_in_its_nodes(traced, int8):
    for made in (traced, int8):
        found = graph(made)
        assert sum(node.operations for node in found.nodes) == 2 * sum(op.macs or 0 for op in made.operations)


def test_edges_go_forward_in_the_order_in_which_nodes_run(traced, int8):
    for made in (traced, int8):
        assert all(start < end for start, end in graph(made).edges)


def test_integers_are_a_region_from_quantizing_to_restoring(int8):
    nodes = graph(int8).nodes
    inside = {node.label for node in nodes if node.is_quantized}
    assert inside >= {"quantize_per_tensor", "first", "second", "classifier", "dequantize"}
    # FX leaves a ReLU in float that it does not fuse: the picture shows what is, and no plan.
    assert {node.label for node in nodes} - inside >= {"input", "output"}
    assert all("float" in node.dtype for node in nodes if not node.is_quantized)
    assert nodes[1].label == "quantize_per_tensor"
    assert nodes[-2].label == "dequantize"
    conv = next(node for node in nodes if node.label == "first")
    assert (conv.precision, color_class(conv.precision)) == ("quint8", "integer")


def test_integer_weights_under_float_arithmetic_are_told_apart():
    module = quantized(flow("kbit-4-all-layers"), Residual(), [PICTURES], trains=False)
    node = next(node for node in graph(trace(module, PICTURES)).nodes if node.label == "first")
    assert node.precision == "int8 weights, float32"
    assert node.is_quantized
    assert color_class(node.precision) == "mixed"


def test_an_exported_graph_has_the_same_layers():
    pytest.importorskip("torchao")
    module = quantized(flow("pt2e-static"), Residual(), [PICTURES], trains=False)
    nodes = graph(trace(module, PICTURES)).nodes
    assert [node.label for node in nodes if node.role == "layer"] == ["first", "second", "classifier"]


def test_the_svg_is_a_document_with_a_title_for_each_box_and_a_curve_for_each_edge(traced):
    svg = graph_svg(traced, name="residual")
    found = graph(traced)
    assert len(titles(svg)) == len(found.nodes)
    assert titles(svg)[1] == (
        "first, norm, (model)\nConv2d, BatchNorm2d, relu\ngives float32 2x4x8x8, computes in float32\n27.6 kop\n"
        "loads 1.54 kB, stores 2.05 kB\nweights: 496 B float32\nconvolution, native_batch_norm, relu"
    )
    assert svg.count('class="edge"') == len(found.edges)
    assert "quantized region" not in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")
    assert "<script" not in svg


def test_times_colour_boxes_and_what_is_in_no_box_is_said(traced):
    svg = graph_svg(traced, {"first": 0.002, "norm": 0.001, "second": 0.001, "": 0.001})
    first, second = titles(svg)[1:3]
    assert first.endswith("3.00 ms, 60.0 % of all layers")
    assert second.endswith("1.00 ms, 20.0 % of all layers")
    assert titles(svg)[3].endswith("its time is not known apart from that of others")
    assert "5.00 ms in all layers; 20.0 % of it in places that stand in several boxes" in svg
    strengths = [float(found) for found in re.findall(r'hot"[^>]*fill-opacity:([0-9.]+)"', svg)]
    assert max(strengths) == pytest.approx(0.56)


def test_a_quantized_region_is_outlined_and_in_the_legend(int8):
    svg = graph_svg(int8)
    assert svg.count('<g class="rim">') == svg.count('<g class="region">') == 1
    assert "quantized region" in svg
    assert "prefers-color-scheme: dark" in svg


def test_names_of_layers_cannot_break_out_of_the_document():
    evil = nn.Sequential()
    evil.add_module("</title><script>alert(1)</script>&", nn.Linear(2, 2))
    svg = graph_svg(trace(evil, torch.ones(1, 2)), name='"><script>')
    assert "<script" not in svg
    assert any("<script>alert(1)</script>&" in text for text in titles(svg))


def test_a_value_that_only_python_looks_at_ends_there():
    values = torch.ones(2, 4)
    module = models.Branchy()
    nn.init.ones_(module.layer.weight)
    found = graph(trace(module, values))
    assert [node.label for node in found.nodes] == ["input", "layer", "sum · gt", "neg", "output"]
    assert found.edges == ((0, 1), (1, 2), (1, 3), (3, 4))


def test_long_names_are_cut_where_they_tell_least():
    assert clipped("a" * 50) == "a" * 43 + "…"
    assert clipped("x" * 50 + ".tail", keeps_end=True).endswith(".tail")
    assert len(clipped("x" * 50, keeps_end=True)) == 44
    assert clipped("short") == "short"


def test_the_same_trace_gives_the_same_picture(int8):
    assert graph_svg(int8) == graph_svg(int8)
