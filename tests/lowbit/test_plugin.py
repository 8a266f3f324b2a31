from __future__ import annotations

import pytest
import torch

from bench.data.variant import Variant
from bench.errors import InvalidData
from bench.plugin import Registry
from bench.run.build import build, close, open_data
from lowbit.plugin import register


@pytest.fixture
def registry():
    registry = Registry()
    register(registry)
    return registry


def test_the_names_are_those_of_the_architecture(registry):
    assert registry.names("model") == ["resnet20", "autoencoder", "vit", "mobilenetv2"]
    assert {"sgd", "adamw", "eva", "eva-8bit", "eva-8bit-cpu"} <= set(registry.names("optimizer"))
    assert all(part.summary.endswith(".") for kind in ("model", "optimizer", "data") for part in registry.parts(kind))


@pytest.mark.parametrize(
    "optimizer", ["sgd", "sgd-foreach", "adamw", "adamw-foreach", "eva", "eva-8bit", "eva-8bit-cpu"]
)
@pytest.mark.parametrize("model", ["resnet20", "autoencoder", "vit", "mobilenetv2@batch=8"])
def test_every_optimizer_trains_every_model(registry, model, optimizer):
    name, _, axes = model.partition("@")
    variant = Variant.parse(f"{name}/{optimizer}/none" + (f"@{axes}" if axes else ""))
    step = build(registry, variant, data=open_data(registry, "digits"), seed=0)
    for index in range(3):
        assert torch.isfinite(step.run(index))
    close(step)


def test_the_seed_decides_the_parameters_and_the_callers_random_state_is_left_alone(registry):
    factory = registry.get("model", "autoencoder").factory
    state = torch.random.get_rng_state()
    cpu = torch.device("cpu")
    first, again, other = (factory(cpu, torch.float32, seed).module for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    weight = "layers.1.weight"
    assert torch.equal(first.state_dict()[weight], again.state_dict()[weight])
    assert not torch.equal(first.state_dict()[weight], other.state_dict()[weight])


def test_a_path_that_is_no_image_set_is_a_users_mistake(registry, tmp_path):
    with pytest.raises(InvalidData, match=r"--data .* does not exist"):
        registry.get("data", "cifar10").factory(str(tmp_path / "missing"))
