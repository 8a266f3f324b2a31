from __future__ import annotations

import pytest
import torch

from bench.data.variant import Variant
from bench.errors import InvalidData, StepbenchError
from bench.run.build import build, open_data
from bench.run.training import TrainedStep, accuracy, set_rate
from tests.fakes import FakeClock


class Ticking(FakeClock):
    """Every reading takes a second, so that a step, which is marked at both ends, takes one."""

    def mark(self):
        self.move(1.0)
        return super().mark()


TEST = (torch.randn(600, 3, 32, 32), torch.randint(4, (600,)))


def trained(registry, text="picture/descent/none@batch=2", seed=1):
    step = build(registry, Variant.parse(text), data=open_data(registry, "noise"), seed=seed)
    return TrainedStep(step, TEST, Ticking(), seed)


def test_only_steps_are_timed_and_looks_add_up(registry):
    made = trained(registry)
    first, second = made.turn(3), made.turn(2)
    assert (first.steps, first.seconds) == (3, 3.0)
    assert (second.steps, second.seconds) == (5, 5.0)
    assert second.accuracy == accuracy(made.step.module, *TEST)


def test_batches_are_new_in_every_step_and_follow_from_the_seed_alone(registry, monkeypatch):
    seen = []
    draw = type(trained(registry).step).draw
    monkeypatch.setattr(
        "bench.run.build.Step.draw", lambda step, batch, seed: seen.append(found := draw(step, batch, seed)) or found
    )
    trained(registry).turn(4)
    other = trained(registry, "picture/rocket/none@batch=2")
    other.turn(1)
    other.turn(3)
    inputs = [found[0] for found in seen]
    assert len(inputs) == 8
    for ours, theirs in zip(inputs[:4], inputs[4:], strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(inputs[0], inputs[1])


def test_turns_of_any_length_train_the_same(registry):
    found = []
    for turns in ((4,), (1, 3)):
        made = trained(registry)
        for steps in turns:
            made.turn(steps)
        found.append(made.step.module[1].weight.detach())
    assert torch.equal(*found)


def test_accuracy_is_counted_in_eval_mode_over_all_of_them_and_leaves_the_mode():
    class Guess(torch.nn.Module):
        def forward(self, inputs):
            assert not self.training
            assert not torch.is_grad_enabled()
            return torch.nn.functional.one_hot(inputs.long(), 3)

    module = Guess().train()
    targets = torch.arange(600) % 3
    guesses = targets.clone()
    guesses[:150] = (guesses[:150] + 1) % 3
    assert accuracy(module, guesses, targets) == 0.75
    assert module.training


def test_a_model_that_draws_its_own_batches_holds_out_nothing(registry):
    with pytest.raises(InvalidData, match="model 'line' draws its own batches"):
        trained(registry, "line/descent/none")


def test_a_rate_is_set_in_every_group_and_may_be_a_tensor():
    weights = [torch.nn.Parameter(torch.ones(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [weights[0]]}, {"params": [weights[1]], "lr": torch.tensor(1.0)}], lr=0.5)
    set_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] == 0.25
    assert torch.equal(optimizer.param_groups[1]["lr"], torch.tensor(0.25))


def test_an_optimizer_without_a_rate_says_what_is_missing():
    class Own(torch.optim.Optimizer):
        def __init__(self, parameters):
            super().__init__(parameters, {})

    with pytest.raises(StepbenchError, match="Own has no 'lr' in its parameter groups"):
        set_rate(Own([torch.nn.Parameter(torch.ones(1))]), 0.1)
