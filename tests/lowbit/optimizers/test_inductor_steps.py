"""Steps by torch.compile: what is compiled is the update, once for layers of the same shapes, and how long is said."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F

from bench.run.counters import Operations
from lowbit.optimizers import inductor_steps
from lowbit.optimizers.eva import Eva
from lowbit.optimizers.eva_8bit import Eva8bit
from lowbit.optimizers.eva_f import EvaF
from lowbit.optimizers.native.library import CannotCompile
from lowbit.optimizers.sgd_8bit import SGD8bit
from lowbit.optimizers.whole_update import update_
from tests.lowbit.optimizers.test_graph_capture import data, net
from tests.lowbit.optimizers.training import net as small


@pytest.fixture
def calls(monkeypatch):
    """Runs what would be compiled as it is written, and notes for what."""
    found = []

    def run(*given):
        found.append(given)
        update_(*given)

    monkeypatch.setattr(inductor_steps, "_compiled", lambda: run)
    monkeypatch.setattr(inductor_steps, "_took", {})
    return found


def trained(compiled, dtype, steps=5):
    model = net(dtype)
    optimizer = Eva(model, 0.01, compiled=compiled)
    for index in range(steps):
        if index == steps - 2:
            optimizer.param_groups[0]["lr"] = 0.02
        inputs, targets = data(index, dtype)
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_is_compiled_is_the_update_of_torchs_operations(dtype, calls):
    wanted, found = trained(False, dtype)[0], trained("inductor", dtype)[0]
    assert len(calls) == 5
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for one, other in zip(found.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_compiled_it_is_the_same_and_takes_the_time_that_its_remark_says(dtype, monkeypatch):
    monkeypatch.setattr(inductor_steps, "_took", {})
    with warnings.catch_warnings():
        # Of torch's own modules, as its compiler imports them.
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        found, optimizer = trained("inductor", dtype)
    # A rate that has changed is no reason to compile anew.
    assert len(inductor_steps._took) == 1
    assert optimizer._layer_steps.seconds > 0
    assert optimizer.remarks["torch-compile"].startswith("torch.compile took ")
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for one, other in zip(found.parameters(), trained(compiled=False, dtype=dtype)[0].parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_another_optimizer_of_the_same_layers_has_the_time_of_the_first(calls, monkeypatch):
    monkeypatch.setattr(inductor_steps, "_first", lambda *given: calls.append(given) or 12.4)
    for _ in range(2):
        _, optimizer = trained("inductor", torch.float32)
        assert optimizer.remarks == {
            "torch-compile": "torch.compile took 12 s to make the step; counters are without it",
        }
    assert len(inductor_steps._took) == 1


def test_who_looks_at_operations_sees_those_of_torch(calls):
    model, optimizer = trained("inductor", torch.float32)
    before = len(calls)
    F.cross_entropy(model(data(0, torch.float32)[0]), data(0, torch.float32)[1]).backward()
    with Operations() as counter:
        optimizer.step()
    assert counter.operations > 0
    assert counter.syncs == 0
    assert len(calls) == before


def test_layers_of_two_dtypes_are_left_to_torchs_operations(calls):
    model = small(torch.float32)
    model[2].double()
    optimizer = Eva(model, 0.01, compiled="inductor")
    hidden = torch.tanh(model[0](torch.ones(2, 6)))
    before = model[0].weight.detach().clone()
    model[2](hidden.double()).sum().backward()
    optimizer.step()
    assert calls == []
    assert not torch.equal(model[0].weight, before)
    assert "half precision" in optimizer.remarks["not-compiled"]


def test_a_compiler_that_fails_says_what_to_do(calls, monkeypatch):
    def fail(*_given):
        from torch._inductor.exc import InductorError

        raise InductorError(RuntimeError("no compiler\nat all"), None)

    monkeypatch.setattr(inductor_steps, "_compiled", lambda: fail)
    with pytest.raises(CannotCompile, match=r"torch\.compile failed: .*no compiler; leave compiled away"):
        trained("inductor", torch.float32)
    assert calls == []


@pytest.fixture
def traced(monkeypatch):
    """Has torch's compiler trace, with its guards and limits, and run what it traced as it is."""
    compiled = torch.compile(update_, dynamic=False, fullgraph=True, backend="eager")
    torch._dynamo.reset()
    # It counts for the whole process.
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(inductor_steps, "_compiled", lambda: compiled)
    monkeypatch.setattr(inductor_steps, "_took", {})
    monkeypatch.setattr(inductor_steps, "_refused", set())
    yield
    torch._dynamo.reset()


def train_with(between, *, compiled, steps=6, dtype=torch.float64):
    model = net(dtype)
    optimizer = Eva(model, 0.01, compiled=compiled)
    for index in range(steps):
        between(model, optimizer, index)
        inputs, targets = data(index, dtype)
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()], optimizer


def same_as_torchs_operations(between):
    wanted = train_with(between, compiled=False)[0]
    found, optimizer = train_with(between, compiled="inductor")
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    return optimizer


def test_schedules_of_all_rates_compile_once(traced):
    def schedule(_model, optimizer, index):
        rates = {"lr": 0.01 / (1 + index), "momentum": 0.9 - 0.05 * index, "weight_decay": 0.001 * index}
        optimizer.param_groups[0].update(rates)

    optimizer = same_as_torchs_operations(schedule)
    assert len(inductor_steps._took) == 1
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert list(optimizer.remarks) == ["torch-compile"]


def test_without_momentum_the_buffer_stays_as_it_is(traced):
    def in_between(_model, optimizer, index):
        optimizer.param_groups[0]["momentum"] = 0.0 if 1 < index < 4 else 0.9

    same_as_torchs_operations(in_between)


@torch._dynamo.config.patch(recompile_limit=1)
def test_what_differs_in_more_than_shapes_is_compiled_beyond_torchs_own_limit(traced):
    def laid_out(model, _optimizer, index):
        model.to(memory_format=torch.channels_last if index % 2 else torch.contiguous_format)

    optimizer = same_as_torchs_operations(laid_out)
    assert len(inductor_steps._took) == 1
    assert list(optimizer.remarks) == ["torch-compile"]


@torch._dynamo.config.patch(recompile_limit=1)
def test_beyond_our_limit_torchs_operations_make_the_step(traced, monkeypatch):
    monkeypatch.setattr(inductor_steps, "MOST", 2)

    def fewer(model, _optimizer, index):
        for number, parameter in enumerate(model[5:].parameters()):
            parameter.requires_grad_(number >= index)

    optimizer = same_as_torchs_operations(fewer)
    assert len(inductor_steps._took) == 2
    assert "more than 2 sets of layers" in optimizer.remarks["not-compiled"]


@torch._dynamo.config.patch(disable=True)
def test_a_compiler_that_is_turned_off_says_so(traced):
    with pytest.raises(CannotCompile, match="TORCH_COMPILE_DISABLE is set"):
        train_with(lambda *_: None, compiled="inductor")


def test_forms_that_it_is_not_for_say_so():
    model = small()
    with pytest.raises(ValueError, match="take Eva, or quantize_momentum=False"):
        Eva8bit(model, 0.01, compiled="inductor")
    assert Eva8bit(model, 0.01, compiled="inductor", quantize_momentum=False).quantize_statistics
    with pytest.raises(ValueError, match="compiled='inductor': EvaF takes True, False or None"):
        EvaF(model, 0.01, compiled="inductor")
    with pytest.raises(ValueError, match="compiled='inductor': SGD8bit takes True, False or None"):
        SGD8bit(model.parameters(), 0.01, compiled="inductor")
    with pytest.raises(ValueError, match="compiled='nvcc': Eva takes True, False or None"):
        Eva(model, 0.01, compiled="nvcc")
