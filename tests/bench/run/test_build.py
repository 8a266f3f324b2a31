from __future__ import annotations

import pytest
import torch

from bench.data.variant import Variant
from bench.errors import InvalidData, InvalidVariant, PluginFailed, UnknownName
from bench.plugin import Workload
from bench.run.build import BATCHES, build, close, open_data


def make(registry, text, data="noise"):
    return build(registry, Variant.parse(text), data=open_data(registry, data), seed=0)


def test_a_step_trains_its_module(registry):
    step = make(registry, "line/descent/none@batch=5")
    before = step.module.weight.detach().clone()
    loss = step.run(0)
    assert loss.ndim == 0
    assert len(step.batches) == BATCHES
    assert step.batches[0][0].shape == (5, 8)
    assert not torch.equal(before, step.module.weight)
    assert step.phases == ("forward", "backward", "optimize")


def test_the_same_seed_builds_the_same_step(registry):
    first, second = make(registry, "line/descent/none"), make(registry, "line/descent/none")
    for _ in range(3):
        assert torch.equal(first.run(1), second.run(1))


def test_batches_take_the_dtype_of_the_variant_and_labels_keep_theirs(registry):
    inputs, targets = make(registry, "line/descent/none@dtype=float64").batches[0]
    assert inputs.dtype == torch.float64
    assert targets.dtype == torch.int64


def test_without_an_optimizer_the_step_is_inference(registry):
    step = make(registry, "line/none/none")
    assert step.phases == ("forward",)
    assert not step.module.training
    assert not step.run(0).requires_grad


def test_a_model_without_batches_of_its_own_takes_them_from_the_data_source(registry):
    assert make(registry, "picture/descent/none").batches[0][0].shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("text", "data", "error", "says"),
    [
        ("lime/descent/none", "noise", UnknownName, "did you mean 'line'"),
        ("line/decent/none", "noise", UnknownName, "did you mean 'descent'"),
        ("line/descent/none@device=cuda", "noise", InvalidVariant, "sees 0 CUDA devices; use cpu"),
        ("line/descent/frozen", "noise", InvalidVariant, "no backward phase"),
        ("picture/descent/none", "nose", UnknownName, "did you mean 'noise'"),
        ("picture/descent/none", "no/such/folder", InvalidData, "no plug-in reads"),
    ],
)
def test_what_cannot_be_built_is_one_line_that_says_what_is_allowed(registry, text, data, error, says):
    if "cuda" in text and torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(error, match=says) as raised:
        make(registry, text, data)
    assert "\n" not in str(raised.value)


def test_a_model_that_returns_no_workload_is_named(registry):
    registry.model("bare")(lambda _device, _dtype, _seed: torch.nn.Linear(1, 1))
    with pytest.raises(PluginFailed, match=r"'bare'.*returned Linear"):
        make(registry, "bare/descent/none")


def test_a_batch_that_a_model_cannot_train_with_says_which_it_can(registry):
    def even(_device, _dtype, _seed):
        loss = torch.nn.functional.mse_loss
        return Workload(torch.nn.BatchNorm1d(2), loss, lambda n, _: (torch.ones(n, 2),) * 2, smallest_batch=2)

    registry.model("even")(even)
    with pytest.raises(InvalidVariant, match=r"^batch=1: even trains from 2 on; give --batch 2$"):
        make(registry, "even/descent/none")
    assert make(registry, "even/descent/none@batch=2").phases[-1] == "optimize"
    assert make(registry, "even/none/none").phases == ("forward",)


def test_closing_a_step_closes_an_optimizer_that_can_be_closed(registry):
    step = make(registry, "line/descent/none")
    close(step)
    closed = []
    step.optimizer.close = lambda: closed.append(True)
    close(step)
    assert closed == [True]
