from __future__ import annotations

import warnings

import torch

from bench.run.weights import weight_bytes


def test_every_storage_counts_once():
    module = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.BatchNorm1d(4))
    module.tied = module[0].weight
    module.view = module[0].weight[0]
    assert weight_bytes(module) == {"model_bytes": 4 * (8 * 4 + 4) + 4 * 4 * 4 + 8, "integer_bytes": 0}


def test_integers_are_told_from_floats_wherever_they_are_kept():
    module = torch.nn.Module()
    module.register_buffer("codes", torch.zeros(100, dtype=torch.int8))
    module.tables = {"zero": [torch.zeros(10, dtype=torch.uint8), torch.zeros(3)]}
    assert weight_bytes(module) == {"model_bytes": 122, "integer_bytes": 110}


def test_packed_weights_are_unpacked():
    with warnings.catch_warnings():
        # torch announces that its quantized dtypes and their modules will go; they are what is counted here.
        warnings.simplefilter("ignore")
        packed = torch.ao.nn.quantized.dynamic.Linear(64, 32)
        assert weight_bytes(packed)["integer_bytes"] == 64 * 32
        assert weight_bytes(packed)["model_bytes"] == 64 * 32 + 32 * 4


def test_two_packed_weights_are_two():
    with warnings.catch_warnings():
        # As above.
        warnings.simplefilter("ignore")
        linear = torch.ao.nn.quantized.dynamic.Linear
        assert weight_bytes(torch.nn.Sequential(linear(8, 8), linear(8, 8)))["integer_bytes"] == 128


def test_switches_of_fake_quantizers_are_no_weights():
    prepared = torch.nn.Linear(8, 4)
    prepared.register_buffer("fake_quant_enabled", torch.ones(1, dtype=torch.uint8))
    assert weight_bytes(prepared) == {"model_bytes": 4 * (8 * 4 + 4) + 1, "integer_bytes": 0}
