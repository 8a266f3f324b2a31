from __future__ import annotations

import torch

from bench.data.variant import Variant
from bench.run.build import build, open_data
from bench.run.memory import peak_bytes, state_bytes


def test_the_peak_of_a_step_lies_between_its_largest_tensor_and_twice_all_of_them(registry):
    step = build(registry, Variant.parse("picture/descent/none@batch=64"), data=open_data(registry, "noise"), seed=0)
    step.run(0)
    gradient = 3072 * 4 * 4
    assert gradient <= peak_bytes(step) <= 2 * (gradient + 64 * 4 * 4 * 8)


def test_what_is_freed_inside_of_a_step_but_not_its_own_changes_no_peak(registry):
    """Neither what the collector finds nor what an earlier step left: each peak is the same."""
    step = build(registry, Variant.parse("picture/descent/none@batch=64"), data=open_data(registry, "noise"), seed=0)
    step.run(0)  # makes the optimizer's state
    peaks = set()
    for _ in range(4):
        for size in range(1, 400):
            cycle = [torch.empty(64 * size)]
            cycle.append(cycle)
        peaks.add(peak_bytes(step))
    assert len(peaks) == 1


def test_state_is_split_by_its_key_and_counted_once():
    weight = torch.nn.Parameter(torch.zeros(100))
    optimizer = torch.optim.Adam([weight], lr=1e-3)
    weight.sum().backward()
    assert state_bytes(optimizer) == {}
    optimizer.step()
    assert state_bytes(optimizer) == {"step": 4, "exp_avg": 400, "exp_avg_sq": 400}


def test_momentum_is_called_momentum(registry):
    step = build(registry, Variant.parse("line/descent/none"), data=open_data(registry, "noise"), seed=0)
    step.run(0)
    assert state_bytes(step.optimizer) == {"momentum": 4 * (32 + 4)}


def test_an_optimizer_that_reports_its_bytes_is_believed():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    optimizer.state_bytes = lambda: {"scales": 12}
    assert state_bytes(optimizer) == {"scales": 12}


def test_inference_has_no_state():
    assert state_bytes(None) == {}
