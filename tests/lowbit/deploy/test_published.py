"""The published table of MobileNetV2's layers at batch 256: every row's operations, exactly."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from lowbit.deploy.layers import costs
from lowbit.deploy.trace import trace
from lowbit.models.mobilenetv2 import MobileNetV2

TABLE = Path(__file__).parents[2] / "data" / "mobilenetv2_layers_batch256.csv"
BATCH = 256


@pytest.fixture(scope="module")
def published():
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return [(row["layer"], int(row["ops_per_run"])) for row in csv.DictReader(stream)]


@pytest.fixture(scope="module")
def layers():
    with torch.device("meta"):
        module = MobileNetV2().eval()
        pictures = torch.empty(BATCH, 3, 32, 32)
    return costs(trace(module, pictures))


def our_name(published):
    """_features_2_conv_1_0_hz_conv2d: what follows a block's number is one of its three convolutions, or the stem."""
    words = published.strip("_").split("_")
    if words[0] == "classifier":
        return "classifier.1"
    block = int(words[1])
    if published.endswith("conv2d_torch_native"):
        return "average"
    if block in {0, 18}:
        return f"features.{block}.0"
    # A project is fused with the addition behind it in blocks that have one.
    index = 2 if words[2] == "generated" else int(words[3])
    has_inner = index == 0 or (index == 1 and block > 1)
    return f"features.{block}.layers.{index}" + (".0" if has_inner else "")


def test_every_layer_has_the_published_operations(published, layers):
    ours = {layer.name: layer.operations for layer in layers}
    assert [(name, ours[our_name(name)]) for name, _ in published] == published


def test_their_sum_is_the_published_one_and_nothing_else_counts(published, layers):
    assert sum(count for _, count in published) == 3_135_963_136
    assert sum(layer.operations for layer in layers) == 3_135_963_136
    assert sum(layer.operations for layer in layers) / BATCH == 12_249_856
    assert not any(layer.uncounted for layer in layers)
    named = {our_name(name) for name, count in published if count}
    assert {layer.name for layer in layers if layer.operations} == named
