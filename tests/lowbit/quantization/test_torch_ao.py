from __future__ import annotations

import copy
import sys
import warnings

import pytest
import torch
from torch import nn

from lowbit.quantization import torch_ao
from lowbit.quantization.flow import QuantizationError
from lowbit.quantization.stage import Stage


def test_without_torch_ao_every_door_says_what_to_do(monkeypatch):
    assert torch_ao.available()
    monkeypatch.setitem(sys.modules, "torch.ao.quantization.quantize_fx", None)
    assert not torch_ao.available()
    with pytest.raises(
        QuantizationError, match=r"has no torch\.ao\.quantization\.quantize_fx\.prepare_fx any more: use"
    ):
        torch_ao.fx()


def test_a_part_that_is_gone_is_as_good_as_all(monkeypatch):
    monkeypatch.delattr(torch.ao.quantization, "prepare_qat")
    with pytest.raises(QuantizationError, match=r"has no torch\.ao\.quantization\.prepare_qat any more"):
        torch_ao.eager()


def test_only_expected_warnings_are_kept_back():
    with torch_ao.quiet():
        warnings.warn("torch.ao.quantization is deprecated and will be removed", DeprecationWarning, stacklevel=1)
    with pytest.warns(UserWarning, match="the house is on fire"), torch_ao.quiet():
        warnings.warn("the house is on fire", UserWarning, stacklevel=1)


@pytest.mark.parametrize("per_tensor", [True, False])
@pytest.mark.parametrize("engine", ["x86", "onednn", "fbgemm", "qnnpack"])
def test_fake_quantizers_are_the_plain_ones_and_weights_are_as_was_asked_for(engine, per_tensor):
    with torch_ao.quiet():
        static = torch_ao.static_qconfig(engine, per_tensor=per_tensor)
        qat = torch_ao.qat_qconfig(engine, per_tensor=per_tensor)
        plain = torch_ao.eager().FakeQuantize
        assert type(qat.activation()) is plain
        assert type(qat.weight()) is plain
        for weight in (static.weight(), qat.weight()):
            assert weight.dtype == torch.qint8
            assert (weight.qscheme == torch.per_tensor_symmetric) == per_tensor


@pytest.mark.parametrize(
    ("stage", "observes", "rounds"),
    [(Stage.CALIBRATION, True, False), (Stage.QAT, True, True), (Stage.VALIDATION, False, True)],
)
def test_a_stage_switches_fake_quantizers_and_bare_observers(stage, observes, rounds):
    with torch_ao.quiet():
        ao = torch_ao.eager()
        quantizer, observer = ao.FakeQuantize(), ao.HistogramObserver()
        module = nn.Sequential(quantizer, observer)
        values = torch.linspace(-1, 1, 50)
        torch_ao.enter(module, Stage.CALIBRATION)
        module(values)
        seen = float(observer.max_val)
        torch_ao.enter(module, stage)
        module.eval()
        after = module(values * 3)
    assert torch.equal(after, values * 3) != rounds
    assert (float(observer.max_val) > seen) == observes
    assert bool(quantizer.observer_enabled[0]) == observes


def test_a_stopped_observer_is_copied_stopped_and_starts_again():
    observer = torch_ao.eager().MinMaxObserver()
    torch_ao.enter(observer, Stage.CALIBRATION)
    observer(torch.ones(2))
    torch_ao.enter(observer, Stage.VALIDATION)
    copied = copy.deepcopy(observer)
    copied(torch.full((2,), 9.0))
    assert float(copied.max_val) == 1
    torch_ao.enter(copied, Stage.CALIBRATION)
    copied(torch.full((2,), 9.0))
    assert float(copied.max_val) == 9


def test_the_example_is_two_finite_samples():
    one = torch.tensor([[1.0, float("nan"), float("inf")]])
    assert torch.equal(torch_ao.example([one]), torch.tensor([[1.0, 0, 0], [1, 0, 0]]))
    assert torch_ao.example([torch.zeros(5, 3, 8, 8)]).shape == (2, 3, 8, 8)
    assert torch_ao.example([torch.tensor([3, 4])]).dtype == torch.int64
    for nothing in ([], [torch.empty(0, 3)]):
        with pytest.raises(QuantizationError, match="no batch, or an empty one: give one sample"):
            torch_ao.example(nothing)


def test_a_rehearsal_leaves_the_model_as_it_is_and_explains_a_failure_in_one_line():
    module = nn.Sequential(torch_ao.eager().MinMaxObserver())

    def fail(trial):
        assert trial is not module
        assert float(trial[0].max_val) == 1
        raise RuntimeError("there is no kernel. And this is\nlong")

    with pytest.raises(QuantizationError, match=r"^M on x86 fails: there is no kernel; use another$"):
        torch_ao.rehearse(module, torch.ones(2), fail, "M on x86", "use another")
    assert not torch.isfinite(module[0].max_val)


class Mode(nn.Module):
    """Adds one in training, by its own code; and has a dropout that is a module."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def forward(self, values):
        return self.drop(values + 1 if self.training else values)


def test_a_model_is_traced_as_in_eval_mode_and_stays_in_its_own():
    module = Mode()
    graph_module = torch_ao.traced(module)
    assert module.training
    assert graph_module.training
    assert graph_module.drop is module.drop
    assert graph_module.drop.training
    graph_module.eval()
    assert torch.equal(graph_module(torch.zeros(3)), torch.zeros(3))


def test_a_model_that_cannot_be_traced_is_named_with_the_reason():
    class Branch(nn.Module):
        def forward(self, values):
            return values if values.sum() > 0 else -values

    with pytest.raises(
        QuantizationError, match=r"^Branch cannot be traced by torch\.fx: symbolically traced variables"
    ):
        torch_ao.traced(Branch())


def test_an_error_without_words_is_named_by_its_kind():
    assert torch_ao.sentence(KeyError()) == "KeyError"
    assert torch_ao.sentence(ValueError("\n  one thing. another")) == "one thing"
