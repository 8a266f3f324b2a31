from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lowbit.quantization import eager, fx
from lowbit.quantization.engine import ENGINES, OnEngine, check, chooses, stands_for, using
from lowbit.quantization.flow import QuantizationError, calibrate, deployed, quantized
from lowbit.quantization.torch_ao import layers
from tests.lowbit.quantization.small import Small, batches


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


class Mixed(nn.Sequential):
    """A convolution of each kind that kernels differ by."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.Conv2d(32, 128, 1),
            nn.Conv2d(128, 128, 3, padding=1, groups=128),
            nn.Conv2d(128, 64, 1),
            nn.Conv2d(64, 64, 3, padding=1),
            nn.Conv2d(64, 64, 1, groups=2),
        )


def converted(engine):
    torch.manual_seed(0)
    inputs = [torch.randn(4, 3, 6, 6)]
    flow = fx.static(engine)
    prepared = flow.prepare(Mixed().eval(), inputs)
    calibrate(flow, prepared, inputs)
    return deployed(flow, prepared), inputs[0]


@pytest.fixture
def packed(monkeypatch):
    """Notes for which engine each layer is packed last."""
    kind = layers().Conv2d
    found, plain = {}, kind.set_weight_bias

    def noted(self, weight, bias):
        found[self.in_channels, self.out_channels, self.kernel_size, self.groups] = torch.backends.quantized.engine
        plain(self, weight, bias)

    monkeypatch.setattr(kind, "set_weight_bias", noted)
    return found


CHOSEN = {
    (3, 32, (3, 3), 1): "onednn",
    (32, 128, (1, 1), 1): "onednn",
    (128, 128, (3, 3), 128): "onednn",
    (128, 64, (1, 1), 1): "fbgemm",
    (64, 64, (3, 3), 1): "onednn",
    (64, 64, (1, 1), 2): "onednn",
}


@pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="torch was built without FBGEMM")
def test_x86_takes_the_kernel_that_was_measured_to_be_faster_layer_by_layer(monkeypatch, packed):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True, "amx_int8": False}, raising=False)
    module, inputs = converted("x86")
    assert packed == CHOSEN
    for again in (copy.deepcopy, lambda module: module.load_state_dict(module.state_dict())):
        packed.clear()
        again(module)
        assert packed == CHOSEN
    # Under the ranges that x86 has here; FBGEMM's kernels with a filter a channel would overflow with these inputs.
    by_torch, _ = converted("onednn")
    found, expected = module(inputs), by_torch(inputs)
    # A rounding may fall on the other side, by one step of the output's scale.
    scale = max(child.scale for child in module.modules() if isinstance(child, layers().Conv2d))
    assert (found - expected).abs().max() <= 2 * scale


@pytest.mark.parametrize("flow", [eager.static, eager.qat, fx.static, fx.qat])
@pytest.mark.parametrize(("vnni", "top"), [(True, 255), (False, 127)])
def test_x86_keeps_a_bit_free_where_kernels_could_overflow(monkeypatch, flow, vnni, top):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": vnni}, raising=False)
    model = flow("x86").prepare(Small(), batches(1))
    observers = [child for name, child in model.named_modules() if "weight" not in name and hasattr(child, "quant_max")]
    assert {child.quant_max for child in observers} == {top}
    assert stands_for("x86") == ("onednn" if vnni else "x86")
    assert stands_for("fbgemm") == "fbgemm"


@pytest.mark.skipif("onednn" not in torch.backends.quantized.supported_engines, reason="torch was built without oneDNN")
def test_all_eight_bits_are_exact_in_every_kernel_that_x86_takes(monkeypatch):
    """Largest codes and weights of one sign: where products are added in 16 bits, the sums are wrong."""
    if not chooses():
        pytest.skip("torch chooses for this processor, and keeps a bit free")
    for inner, outer, size, groups in ((3, 32, 3, 1), (32, 128, 1, 1), (128, 128, 3, 128), (128, 64, 1, 1)):
        module = nn.Sequential(nn.Conv2d(inner, outer, size, padding=size // 2, groups=groups, bias=False))
        module[0].weight.data.fill_(1.0)
        inputs = torch.rand(2, inner, 8, 8) * 0.5 + 0.5
        found = quantized(fx.static("x86"), module, [inputs], trains=False)(inputs)
        with torch.no_grad():
            expected = module(inputs)
        assert (found - expected).abs().max() <= 0.01 * expected.max()


@pytest.mark.parametrize("capabilities", [{}, {"avx512_vnni": False}, {"avx512_vnni": True, "amx_int8": True}])
def test_where_nothing_was_measured_the_choice_is_torchs(monkeypatch, packed, capabilities):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    converted("x86")
    assert set(packed.values()) == {"x86"}


def test_an_engine_that_was_asked_for_by_name_is_the_only_one(monkeypatch, packed):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True}, raising=False)
    converted("onednn")
    assert set(packed.values()) == {"onednn"}
