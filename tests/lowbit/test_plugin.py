from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from bench.data.metric import PHASES
from bench.data.protocol import Protocol
from bench.data.variant import Variant
from bench.errors import InvalidData, StepbenchError, UnknownName
from bench.plugin import Coverage, Ran, Registry
from bench.run.build import build, close, open_data, open_held_out
from bench.run.exact import exact
from lowbit.data.synthetic import sample
from lowbit.optimizers import blockwise
from lowbit.plugin import register
from lowbit.plugin.optimizers import LR, MOMENTUM, WEIGHT_DECAY
from lowbit.plugin.quantizations import why_slower
from lowbit.quantization.flows import NAMES


@pytest.fixture
def registry():
    registry = Registry()
    register(registry)
    return registry


def test_the_names_are_those_of_the_architecture(registry):
    assert registry.names("model") == ["resnet20", "autoencoder", "vit", "mobilenetv2"]
    assert {"sgd", "sgd-8bit", "adamw", "eva", "eva-8bit", "eva-8bit-cpu", "eva-f"} <= set(registry.names("optimizer"))
    assert all(part.summary.endswith(".") for kind in ("model", "optimizer", "data") for part in registry.parts(kind))


def test_names_and_summaries_are_listed_without_torch():
    code = (
        "import sys; from bench.plugin import KINDS, Registry; from lowbit.plugin import register\n"
        "registry = Registry(); register(registry)\n"
        "print(*(part.name for kind in KINDS for part in registry.parts(kind) if part.summary))\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {"vit", "eva-8bit-cpu", "cifar10"} <= set(done.stdout.split())


def test_all_rows_of_sgd_type_do_the_same_optimization(registry):
    names = (
        "sgd",
        "sgd-foreach",
        "sgd-8bit",
        "eva",
        "eva-eager",
        "eva-bias-gradients",
        "eva-inductor",
        "eva-8bit",
        "eva-8bit-eager",
        "eva-8bit-cpu",
        "eva-f",
    )
    settings = set()
    for name in names:
        optimizer = registry.get("optimizer", name).factory(torch.nn.Linear(3, 2))
        settings |= {
            tuple(group[key] for key in ("lr", "momentum", "weight_decay")) for group in optimizer.param_groups
        }
        if hasattr(optimizer, "close"):
            optimizer.close()
    assert settings == {(LR, MOMENTUM, WEIGHT_DECAY)}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("optimizer", ["sgd", "sgd-foreach", "sgd-8bit", "adamw", "eva", "eva-8bit", "eva-f"])
def test_half_precision_trains_on_the_cpu(registry, optimizer, dtype):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 70), torch.nn.Tanh(), torch.nn.Linear(70, 64)).to(dtype)
    stepping = registry.get("optimizer", optimizer).factory(model)
    for group in stepping.param_groups:
        # Eva-f's steps do not grow with gradients.
        group["lr"] = 3.0 if optimizer == "eva-f" else 0.1
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for _ in range(3):
        stepping.zero_grad()
        model(torch.randn(2, 64).to(dtype)).square().sum().backward()
        stepping.step()
    for old, new in zip(before, model.parameters(), strict=True):
        assert new.isfinite().all()
        assert not torch.equal(old, new)


@pytest.mark.parametrize(
    "optimizer",
    ["sgd", "sgd-foreach", "sgd-8bit", "adamw", "adamw-foreach", "eva", "eva-8bit", "eva-8bit-cpu", "eva-f"],
)
@pytest.mark.parametrize("model", ["resnet20", "autoencoder", "vit", "mobilenetv2@batch=8"])
def test_every_optimizer_trains_every_model(registry, model, optimizer):
    name, _, axes = model.partition("@")
    variant = Variant.parse(f"{name}/{optimizer}/none" + (f"@{axes}" if axes else ""))
    step = build(registry, variant, data=open_data(registry, "digits"), seed=0)
    for index in range(3):
        assert torch.isfinite(step.run(index))
    close(step)


@pytest.mark.parametrize("name", ["resnet20", "autoencoder", "vit", "mobilenetv2"])
def test_the_seed_decides_the_parameters_and_the_callers_random_state_is_left_alone(registry, name):
    factory = registry.get("model", name).factory
    state = torch.random.get_rng_state()
    cpu = torch.device("cpu")
    first, again, other = (factory(cpu, torch.float32, seed).module.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_a_model_comes_in_the_dtype_that_was_asked_for(registry):
    workload = registry.get("model", "resnet20").factory(torch.device("cpu"), torch.float64, 0)
    assert {parameter.dtype for parameter in workload.module.parameters()} == {torch.float64}
    assert workload.sample is None


def test_a_path_that_is_no_image_set_is_a_users_mistake(registry, tmp_path):
    with pytest.raises(InvalidData, match=r"--data .* does not exist"):
        registry.get("data", "cifar10").factory(str(tmp_path / "missing"))


def test_image_sets_hold_out_what_they_do_not_train_on(registry, tmp_path):
    split = open_held_out(registry, "digits", 1)
    inputs, targets = split.test
    assert (inputs.shape, targets.shape) == ((450, 3, 32, 32), (450,))
    drawn, _ = split.train(64, torch.Generator().manual_seed(0))
    assert not (drawn.unsqueeze(1) == inputs[:100]).all((2, 3, 4)).any()
    with pytest.raises(InvalidData, match=r"synthetic: holds out nothing .* choose one of digits, cifar10"):
        open_held_out(registry, "synthetic", 1)
    (tmp_path / "text.npz").write_text("this is no archive")
    with pytest.raises(InvalidData, match=r"--data .*text\.npz"):
        open_held_out(registry, str(tmp_path / "text.npz"), 1)


@pytest.mark.parametrize("optimizer", ["eva-8bit", "eva-8bit-cpu"])
def test_counters_are_the_same_in_a_fresh_process_and_in_a_used_one(registry, optimizer):
    """Tables that the first steps of a process make are no part of what is counted."""
    variant, protocol = Variant(model="autoencoder", optimizer=optimizer), Protocol(quality_steps=1)
    counters = []
    for clear in (True, False):
        if clear:
            blockwise.encoding.cache_clear()
            blockwise._decoding_pairs.cache_clear()
        counters.append(exact(registry, variant, protocol, sample).counters)
    assert counters[0] == counters[1]


@pytest.mark.parametrize("flow", ["kbit-8", "eager-qat-x86"])
def test_eva_is_no_name_for_sgd_on_quantized_layers(registry, flow):
    variant = Variant(model="autoencoder", optimizer="eva", quantization=flow)
    with pytest.raises(StepbenchError, match="Eva would be plain SGD here"):
        build(registry, variant, data=sample, seed=0)


def test_every_listed_flow_is_registered_with_what_it_is(registry):
    parts = {part.name: part for part in registry.parts("quantization")}
    assert {listed.name for listed in NAMES} == set(parts)
    assert all(part.summary and part.options["slower"] and part.options["coverage"] for part in parts.values())
    assert parts["fx-static-x86"].options["phases"] == ("forward",)
    assert parts["kbit-4"].options["phases"] == PHASES


@pytest.mark.parametrize(
    ("variant", "says"),
    [
        ("autoencoder/none/fx-static-x86-qint8", "0 of 8 layers quantized: no engine has kernels"),
        ("vit/none/eager-static-x86", "ViT in eager mode on x86 fails"),
    ],
)
def test_what_a_flow_cannot_do_is_one_line(registry, variant, says):
    with pytest.raises(StepbenchError, match=says) as caught:
        build(registry, Variant.parse(variant), data=sample, seed=0)
    assert "\n" not in str(caught.value)


def test_a_flow_quantizes_what_is_deployed_and_what_is_trained(registry):
    deployed = build(registry, Variant.parse("autoencoder/none/kbit-8@batch=2"), data=sample, seed=0)
    trained = build(registry, Variant.parse("autoencoder/sgd/kbit-8@batch=2"), data=sample, seed=0)
    assert deployed.coverage == trained.coverage == Coverage(quantized=6, eligible=8, cause=deployed.coverage.cause)
    assert "Linear" in deployed.coverage.cause
    trained.run(0)
    assert not deployed.run(0).requires_grad


def test_names_that_follow_the_rules_need_not_be_listed(registry):
    part = registry.get("quantization", "kbit-6-histogram")
    assert part.options["phases"] == PHASES
    assert registry.get("quantization", "dorefa-3-3-3").name == "dorefa-3-3-3"
    with pytest.raises(UnknownName, match="kbit-33', did you mean 'kbit-3'"):
        registry.get("quantization", "kbit-33")


@pytest.mark.parametrize(
    ("name", "ran", "says"),
    [
        ("eager-qat-x86", {"trains": True}, "training computes in float"),
        ("kbit-8", {"batch": 1}, "to show what few bits do"),
        ("fx-dynamic-x86", {}, "only linear layers"),
        ("fx-static-qnnpack", {}, "made for ARM"),
        ("pt2e-static", {}, "add @compiled=true"),
        ("fx-static-x86", {"compiled": True}, "does not look into torch's kernels"),
        ("fx-static-x86", {"threads": 2}, "by 2 threads"),
        ("pt2e-static", {"compiled": True, "batch": 1}, "at batch 1"),
        ("fx-static-x86", {}, "use another engine"),
    ],
)
def test_why_a_row_is_slower_follows_from_how_it_ran(name, ran, says):
    assert says in why_slower(name, Ran(**({"batch": 32, "threads": 1, "compiled": False, "trains": False} | ran)))
