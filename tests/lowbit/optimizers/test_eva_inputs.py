"""Dtypes, memory formats and forms of input on which public code fails."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lowbit.optimizers.eva import Eva
from tests.lowbit.optimizers.reference import ReferenceEva
from tests.lowbit.optimizers.training import data, forms, net, step, values


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@forms
def test_half_precision_parameters_keep_vectors_in_fp32(form, dtype):
    model = net(dtype)
    optimizer = form(model, 1e-3)
    for index in range(2):
        assert torch.isfinite(step(model, optimizer, *data(index, dtype=dtype)))
    state = optimizer.state_dict()["state"][0]
    assert state["a" if form is Eva else "a_scales"].dtype == torch.float32
    assert state["momentum_buffer"].dtype == dtype
    optimizer.close()


def test_autocast_does_not_reach_the_vectors():
    model = net(torch.float32)
    optimizer = Eva(model, 1e-2)
    inputs, targets = data(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = F.cross_entropy(model(inputs), targets)
    loss.backward()
    optimizer.step()
    assert optimizer.state[model[2].weight]["g"].dtype == torch.float32


def test_channels_last_pictures_give_the_same_step():
    results = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 3)).double().to(memory_format=memory_format)
        )
        inputs = torch.randn(2, 3, 6, 6, dtype=torch.float64).to(memory_format=memory_format)
        optimizer = Eva(model, 1e-2)
        for _ in range(3):
            step(model, optimizer, inputs, torch.tensor([0, 1]))
        results.append(torch.cat([p.detach().contiguous().flatten() for p in model.parameters()]))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-12)


def test_an_input_without_a_batch_is_its_own_mean():
    model, twin = net(), net()
    inputs, targets = data(count=1)
    optimizers = Eva(model, 1e-2), ReferenceEva(twin, 1e-2)
    F.cross_entropy(model(inputs[0]), targets[0]).backward()
    optimizers[0].step()
    step(twin, optimizers[1], inputs, targets)
    torch.testing.assert_close(values(model), values(twin), rtol=0, atol=1e-12)


def test_an_input_given_by_its_name_is_seen_too():
    class Named(nn.Sequential):
        def forward(self, x):
            return self[2](input=self[1](self[0](input=x)))

    model, twin = net(), net()
    named = Named(*model)
    optimizers = Eva(named, 1e-2), Eva(twin, 1e-2)
    step(named, optimizers[0], *data())
    step(twin, optimizers[1], *data())
    assert torch.equal(values(model), values(twin))


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # Dynamo looks at it behind a hook
def test_a_compiled_model_gives_the_same_step():
    model, twin = net(), net()
    optimizers = Eva(model, 1e-2), Eva(twin, 1e-2)
    compiled = torch.compile(model, backend="eager")
    for index in range(3):
        step(compiled, optimizers[0], *data(index))
        step(twin, optimizers[1], *data(index))
    torch.testing.assert_close(values(model), values(twin), rtol=0, atol=1e-14)
    assert "a" in optimizers[0].state[model[0].weight]
