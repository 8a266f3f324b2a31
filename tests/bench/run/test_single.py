from __future__ import annotations

import inspect

import pytest
import torch

import bench
from bench.data.protocol import PROTOCOL_VERSION
from bench.errors import UnknownName


@pytest.fixture(autouse=True)
def _same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_the_narrow_waist_keeps_its_signatures():
    assert str(inspect.signature(bench.sample)) == "(variant: 'str', metric: 'str') -> 'list[float]'"
    assert str(inspect.signature(bench.supports)) == "(variant: 'str', protocol: 'int') -> 'bool'"


def test_a_noisy_metric_gives_samples_and_an_exact_one_a_value():
    steps = bench.sample("autoencoder/sgd/none", "step")
    assert len(steps) >= 2
    assert min(steps) > 0
    assert bench.sample("autoencoder/sgd/none", "state_bytes") == [4 * 7_415_602]


def test_unknown_names_are_errors_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean 'step'"):
        bench.sample("autoencoder/sgd/none", "stop")
    with pytest.raises(UnknownName, match="did you mean 'autoencoder'"):
        bench.sample("autoncoder/sgd/none", "step")


def test_what_is_supported_is_known_without_measuring():
    assert bench.supports("autoencoder/sgd/none", PROTOCOL_VERSION)
    assert not bench.supports("autoencoder/sgd/none", PROTOCOL_VERSION + 1)
    assert not bench.supports("no-such/sgd/none", PROTOCOL_VERSION)
    assert not bench.supports("nonsense", PROTOCOL_VERSION)
