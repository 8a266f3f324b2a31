from __future__ import annotations

import pytest
import torch

from bench.data.protocol import Protocol
from bench.data.variant import Variant
from bench.errors import InvalidVariant, NotQuantized, PluginFailed, UnknownName
from bench.plugin import Coverage, Ran
from bench.run.build import build
from bench.run.exact import exact

DATA = "noise"


class Rounded(torch.nn.Linear):
    def forward(self, values):
        return torch.nn.functional.linear(values, (self.weight * 8).round() / 8, self.bias)


def rounded(module):
    found = Rounded(module.in_features, module.out_features)
    found.load_state_dict(module.state_dict())
    return found


@pytest.fixture
def parts(registry):
    """The registry with quantizations that count their layers."""
    seen = []

    def covers(before, after):
        return Coverage(quantized=int(isinstance(after, Rounded)), eligible=1, cause="it was not asked to")

    @registry.quantization("rounded", coverage=covers)
    def with_use(module, use):
        seen.append(use)
        return rounded(module)

    @registry.quantization("idle", phases=("forward",), coverage=covers)
    def idle(module):
        return module

    @registry.quantization("lost")
    def lost(module):
        return None

    registry.seen = seen
    return registry


def step(registry, text):
    return build(registry, Variant.parse(text), data=registry.get("data", DATA).factory(), seed=0)


def test_a_factory_may_ask_what_its_module_is_for(parts):
    trained, inferred = step(parts, "line/descent/rounded@batch=3"), step(parts, "line/none/rounded@batch=3")
    training, inference = parts.seen
    assert (training.trains, inference.trains) == (True, False)
    assert len(training.inputs) == len(trained.batches)
    assert all(torch.equal(given, own) for given, (own, _) in zip(inference.inputs, inferred.batches, strict=True))


def test_what_covers_no_layer_has_no_right_to_its_name(parts):
    with pytest.raises(NotQuantized, match="0 of 1 layers quantized: it was not asked to"):
        step(parts, "line/none/idle")


def test_what_cannot_train_is_told_so_before_it_is_built(parts):
    with pytest.raises(InvalidVariant, match="no backward phase"):
        step(parts, "line/descent/idle")


def test_a_factory_that_returns_no_module_is_named(parts):
    with pytest.raises(PluginFailed, match=r"'lost'.*returned NoneType"):
        step(parts, "line/none/lost")


def test_the_exact_half_says_what_was_quantized_and_what_it_did(parts):
    values = {
        name: exact(parts, Variant.parse(f"line/none/{name}"), Protocol(), parts.get("data", DATA).factory())
        for name in ("rounded", "none")
    }
    found = values["rounded"].counters.values
    assert (found["quantized_layers"], found["eligible_layers"]) == (1, 1)
    assert 0 < found["output_error"] < 0.2
    assert [caveat.message for caveat in values["rounded"].caveats] == ["it was not asked to"]
    assert "eligible_layers" not in values["none"].counters.values
    assert found["model_bytes"] == values["none"].counters.values["model_bytes"] == 4 * 36


def test_a_row_that_trains_has_no_output_to_compare(parts):
    found = exact(parts, Variant.parse("line/descent/rounded"), Protocol(), parts.get("data", DATA).factory())
    assert "output_error" not in found.counters.values
    assert found.counters.values["quantized_layers"] == 1


@pytest.mark.parametrize(
    ("quantized", "own_kernels", "said"),
    [(1, False, ["not-fused"]), (1, True, []), (0, False, [])],
)
def test_a_compiled_row_says_what_was_not_fused_unless_its_layers_have_kernels_of_their_own(
    parts, monkeypatch, quantized, own_kernels, said
):
    monkeypatch.setattr(torch, "compile", lambda module, **_: module)

    def covers(before, after):
        return Coverage(quantized=1, eligible=1)

    parts.quantization("fused", coverage=covers, own_kernels=own_kernels)(rounded)
    # As many kernels of integers as the compiler would have counted.
    monkeypatch.setattr("bench.run.compiled.fused_layers", lambda: 1 - quantized)
    variant = Variant.parse("line/none/fused@compiled=true")
    found = exact(parts, variant, Protocol(), parts.get("data", DATA).factory())
    assert [one.code for one in found.caveats if one.code != "eager-counters"] == said
    assert ("fused_layers" in found.counters.values) is not own_kernels


def test_why_a_row_is_slow_is_asked_of_how_it_ran(parts):
    parts.quantization("asked", slower=lambda ran: f"{ran}", coverage=lambda *_: Coverage(quantized=1, eligible=1))(
        rounded
    )
    variant = Variant.parse("line/descent/asked@batch=3")
    (caveat,) = exact(parts, variant, Protocol(quality_steps=2), parts.get("data", DATA).factory()).caveats
    assert caveat.message == str(Ran(batch=3, threads=1, compiled=False, trains=True))


def test_a_rule_registers_a_name_when_it_is_asked_for(parts):
    def rule(name):
        if name != "rounded-by-rule":
            return False
        parts.quantization(name)(rounded)
        return True

    parts.quantizations(rule)
    assert "rounded-by-rule" not in parts.names("quantization")
    assert parts.get("quantization", "rounded-by-rule") is parts.get("quantization", "rounded-by-rule")
    with pytest.raises(UnknownName, match="rounded-by-role"):
        parts.get("quantization", "rounded-by-role")
