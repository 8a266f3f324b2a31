from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lowbit.quantization.engine import ENGINES, OnEngine, check, using
from lowbit.quantization.flow import QuantizationError


class Recorder(nn.Module):
    """Notes the global engine where it is run, copied and loaded."""

    def __init__(self, noted=None):
        super().__init__()
        self.noted = {} if noted is None else noted

    def forward(self, values):
        self.noted["run"] = torch.backends.quantized.engine
        return values

    def __deepcopy__(self, memo):
        return Recorder({"copied": torch.backends.quantized.engine})

    def _load_from_state_dict(self, *_):
        self.noted["loaded"] = torch.backends.quantized.engine


def test_an_unknown_engine_is_refused_with_the_nearest_names():
    with pytest.raises(
        QuantizationError, match=r"unknown engine 'fbgem': did you mean 'fbgemm'\? \(known: x86, onednn,"
    ):
        check("fbgem")
    with pytest.raises(QuantizationError, match=r"unknown engine 'tpu': \(known: "):
        check("tpu")


def test_an_engine_that_torch_was_built_without_is_refused_with_those_there_are(monkeypatch):
    monkeypatch.setattr(torch._C, "_supported_qengines", lambda: [0, 2])
    check("qnnpack")
    with pytest.raises(QuantizationError, match=r"engine 'x86': this torch \(.*\) does not have it; it has qnnpack$"):
        check("x86")


def test_the_engine_is_the_one_before_again_even_after_an_error():
    before = torch.backends.quantized.engine
    other = next(engine for engine in ENGINES if engine != before)
    with using(other):
        assert torch.backends.quantized.engine == other
    with pytest.raises(ZeroDivisionError), using(other):
        _ = 1 / 0
    assert torch.backends.quantized.engine == before


def test_a_converted_model_keeps_its_engine_when_it_is_copied_or_loaded():
    with using("x86"):
        module = OnEngine(Recorder(), "onednn", "what is left")
        copied = copy.deepcopy(module)
        module.load_state_dict(module.state_dict())
    assert copied.module.noted == {"copied": "onednn"}
    assert module.module.noted == {"loaded": "onednn"}
    assert (copied.engine, copied.left_in_float) == ("onednn", "what is left")


@pytest.mark.parametrize(("around", "within"), [("x86", "x86"), ("fbgemm", "fbgemm"), ("qnnpack", "x86")])
def test_it_runs_under_any_engine_but_qnnpack(around, within):
    module = OnEngine(Recorder(), "qnnpack")
    with using(around):
        module(torch.zeros(1))
        assert torch.backends.quantized.engine == around
    assert module.module.noted == {"run": within}
