"""Two real ranks, over gloo: what they promise is about processes that train together."""

from __future__ import annotations

import textwrap

import pytest
import torch

from bench.data.metric import PHASES_OF_RANKS
from bench.data.protocol import Protocol
from bench.data.variant import Variant
from bench.errors import InvalidVariant
from bench.run import ranks
from bench.run.build import build
from bench.run.exact import exact
from bench.run.load import load
from bench.run.messages import Request
from bench.run.pool import open_pool
from bench.run.select import check
from bench.run.single import supported

PROTOCOL = Protocol(budget_s=0.2, workers=1, rounds=1, quality_steps=3)
PLUGIN = """
import os, sys, torch
from bench import Workload

RANK = int(os.environ.get("RANK", 0))

def register(registry):
    @registry.model("toy")
    def toy(device, dtype, seed):
        torch.manual_seed(seed)
        module = torch.nn.Linear(6, 3).to(device, dtype)
        return Workload(module=module, loss=torch.nn.functional.cross_entropy, sample=sample)

    @registry.optimizer("fine")
    def fine(module):
        return torch.optim.SGD(module.parameters(), lr=0.1)

    @registry.optimizer("selfish")
    def selfish(module):
        return torch.optim.SGD(module.parameters(), lr=0.1 * (1 + RANK))

    @registry.optimizer("dies")
    def dies(module):
        if RANK == 1:
            print("famous last words", file=sys.stderr, flush=True)
            os._exit(1)
        return fine(module)

def sample(batch, generator):
    return torch.randn(batch, 6, generator=generator), torch.randint(3, (batch,), generator=generator)
"""


@pytest.fixture
def plugin(tmp_path):
    path = tmp_path / "toys.py"
    path.write_text(textwrap.dedent(PLUGIN))
    return str(path)


def request(do, optimizer="fine", **axes):
    variant = Variant(model="toy", optimizer=optimizer, dtype="float64", **{"ranks": 2, "batch": 3, **axes})
    return Request(do=do, protocol=PROTOCOL, variant=variant)


def test_two_ranks_train_as_one_are_counted_compared_and_outlive_a_death(plugin):
    alone = request("count", ranks=1, batch=6)
    registry = load([plugin])
    one = exact(registry, alone.variant, PROTOCOL, data=None)
    with open_pool(1, 1, "passive", [plugin], ranks=2) as pool:
        pool.greet(request("hello"))
        seen = pool.ask(0, request("count")).exact
        assert seen.counters.values["loss"] == pytest.approx(one.counters.values["loss"], abs=1e-12)
        # One bucket of 21 gradients in fp64, and no other message.
        assert seen.counters.values["communicate.messages"] == 1
        assert seen.counters.values["communicate.bytes"] == 21 * 8
        assert "communicate.messages" not in one.counters.values
        assert seen.phases == PHASES_OF_RANKS

        replicate = pool.ask(0, request("replicate")).replicate
        assert {"backward", "communicate", "optimize", "communicate.cpu"} <= replicate.samples.keys()
        assert len(replicate.samples["communicate"]) == len(replicate.samples["step"]) >= 2
        assert min(replicate.samples["communicate"]) > 0

        unlike = pool.ask(0, request("replicate", "selfish")).usage
        assert unlike.startswith("rank 1 ended with other parameters than rank 0: 2 of 2 differ, the first is 'weight'")

        lost = pool.ask(0, request("replicate", "dies"))
        assert lost.failure == "rank 1 of worker 0 ended with code 1: famous last words"
        processes = [member._process for member in pool._workers[0]._members]
    assert all(process.poll() is not None for process in processes)


def test_ranks_are_started_by_measure_only(registry, tmp_path):
    variant = Variant(model="line", optimizer="descent", ranks=2)
    with pytest.raises(InvalidVariant, match="this is a process of 1 rank"):
        build(registry, variant, data=lambda *_: None, seed=0)
    assert not supported("resnet20/sgd/none@ranks=2", 1)
    assert supported("resnet20/sgd/none", 1)


def test_inference_has_no_ranks(registry):
    with pytest.raises(InvalidVariant, match="inference has none"):
        check(registry, Variant(model="line", optimizer="none", ranks=2))


def test_batches_of_tensors_are_dealt_and_others_refused(monkeypatch):
    monkeypatch.setattr(ranks.dist, "get_rank", lambda: 1)
    assert ranks.share(torch.arange(6), 3).tolist() == [1, 4]
    assert ranks.share(["anything"], 1) == ["anything"]
    with pytest.raises(InvalidVariant, match="a batch of list cannot be dealt to ranks"):
        ranks.share([1, 2, 3], 3)


class Watched:
    """A step whose backward pass gives the gradients of two parameters, the first one last."""

    def __init__(self):
        torch.manual_seed(0)
        self.module = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 1, bias=False))

    def run(self, index):
        self.module(torch.ones(1, 2)).sum().backward()


class Counting:
    """A clock that remembers how many gradients there were when it was read."""

    def __init__(self, module):
        self.module, self.notes = module, []

    def note(self):
        self.notes.append([parameter.grad is not None for parameter in self.module.parameters()])
        return "noted"

    def mark(self):
        return "marked"


def test_the_moment_of_the_last_gradient_is_noted_when_it_is_asked_for():
    step, handover = Watched(), ranks.Handover()
    handover.learn(step)
    clock = Counting(step.module)
    step.run(0)
    assert clock.notes == []
    step.module.zero_grad()
    handover.arm(clock)
    step.run(1)
    assert (handover.take(), clock.notes) == ("noted", [[True, True]])
    handover.arm(clock)
    assert handover.take() == "marked"
