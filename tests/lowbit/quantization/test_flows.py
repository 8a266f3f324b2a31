from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lowbit.quantization import flows
from lowbit.quantization.flow import Flow, QuantizationError
from lowbit.quantization.kbit_layers import QuantizedLayer, Settings
from tests.lowbit.quantization.test_kbit import Small


def test_names_are_listed_once_with_a_line_each():
    names = [listed.name for listed in flows.NAMES]
    assert len(set(names)) == len(names)
    assert all(listed.summary.endswith(".") and len(listed.summary) < 100 for listed in flows.NAMES)
    assert {"kbit-8", "eager-static-x86", "fx-qat-qnnpack", "pt2e-static", "dorefa-1-2-6", "f8net"} <= set(names)


def test_listing_needs_the_standard_library_only():
    code = (
        "import sys; before = set(sys.modules); from lowbit.quantization import flows; len(flows.NAMES)\n"
        "found = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "print(*sorted(found))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "lowbit\n"


@pytest.mark.parametrize("listed", flows.NAMES, ids=lambda listed: listed.name)
def test_every_listed_name_is_a_flow_that_trains_as_it_says(listed):
    found = flows.flow(listed.name)
    assert isinstance(found, Flow)
    assert found.trains == listed.trains


def prepared(name, **given):
    module = flows.flow(name, **given).prepare(Small(), [])
    return {name: child for name, child in module.named_modules() if isinstance(child, QuantizedLayer)}


options = st.tuples(
    st.sampled_from(["", "-per-tensor"]),
    st.sampled_from(["", "-symmetric"]),
    st.sampled_from(["", "-min-max", "-histogram"]),
    st.sampled_from(["", "-reduce-range"]),
    st.sampled_from(["", "-all-layers"]),
)


@given(weight=st.integers(2, 8), activation=st.integers(3, 8), options=options)
def test_every_k_bit_name_is_the_settings_it_says(weight, activation, options):
    layers = prepared(f"kbit-w{weight}a{activation}{''.join(options)}")
    layer = layers["middle"]
    tensor, symmetric, ranges, reduce, everything = options
    expected = Settings(weight_bits=weight, activation_bits=activation, reduce_range=bool(reduce))
    assert layer.weight_quantizer.grid == expected.weight_grid()
    assert layer.input_quantizer.grid == expected.activation_grid()
    assert layer.weight_quantizer.observer.channel == (None if tensor else 0)
    assert layer.input_quantizer.symmetric == bool(symmetric)
    kinds = {"": "MovingAverage", "-min-max": "MinMax", "-histogram": "Histogram"}
    assert type(layer.input_quantizer.observer).__name__ == kinds[ranges]
    assert ("stem" in layers) == bool(everything)


def test_one_number_is_that_of_weights_and_activations():
    layer = prepared("kbit-3")["middle"]
    assert (layer.weight_quantizer.grid.high, layer.input_quantizer.grid.high) == (3, 7)


def test_modules_have_settings_in_the_same_grammar():
    layers = prepared("kbit-4", modules=[("*", "float"), ("hidden", "w8a4-per-tensor"), ("middle", "2")])
    assert list(layers) == ["middle", "hidden"]
    assert layers["hidden"].weight_quantizer.grid.high == 127
    assert layers["hidden"].weight_quantizer.observer.channel is None
    assert layers["middle"].input_quantizer.grid.high == 3


def test_an_output_of_32_bits_is_chosen_by_name():
    layers = prepared("kbit-8", wide_output="classifier")
    assert [name for name, layer in layers.items() if layer.wide_output] == ["classifier"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("kbit-9", "kbit-9: 9 bits; weights and activations have 2 to 8"),
        ("kbit-1", "kbit-1: 1 bit; weights and activations have 2 to 8"),
        ("kbit-w0a8", "kbit-w0a8: 0 bits; weights and activations have 2 to 8"),
        ("kbit-w4a33", "kbit-w4a33: 33 bits; weights and activations have 2 to 8"),
        ("kbit-2-reduce-range", "bits=2 with reduce_range: leaves 1, at least 2 are needed"),
        ("kbit-8-all-layers-symmetric", "unknown flow 'kbit-8-all-layers-symmetric'; did you mean 'kbit-8-"),
        ("dorefa-0-4-4", "dorefa-0-4-4: 0 bits; weights, activations and gradients have 1 to 8, or 32"),
        ("dorefa-4-4-33", "33 bits; weights, activations and gradients have 1 to 8, or 32"),
        ("dorefa-4-4", "unknown flow 'dorefa-4-4'; did you mean 'dorefa-4-4-"),
        ("fx-static-arm", r"unknown engine 'arm' in 'fx-static-arm'. \(known: x86, onednn, fbgemm, qnnpack\)"),
        ("fx-qat-onedn", "unknown engine 'onedn' in 'fx-qat-onedn', did you mean 'onednn'"),
        ("eager-dynamic-x86-per-tensor", "a dynamic flow has no options; did you mean eager-dynamic-x86"),
        ("eager-static-x86-qint8", "only fx-static-x86-qint8 is there"),
        ("pt2e", "unknown flow 'pt2e'; did you mean"),
        ("zzzzzzzzzz", "unknown flow 'zzzzzzzzzz'; `stepbench list` shows"),
        ("", "unknown flow ''"),
    ],
)
def test_another_name_is_refused_on_one_line(name, says):
    with pytest.raises(QuantizationError, match=says) as raised:
        flows.flow(name)
    assert "\n" not in str(raised.value)


@given(st.text(max_size=30))
def test_any_other_text_is_refused_on_one_line(text):
    # hypothesis takes words from the source that it tests: names of flows among them.
    assume(not text.startswith(("eager-", "fx-", "pt2e-", "kbit-", "dorefa-", "f8net")))
    with pytest.raises(QuantizationError) as raised:
        flows.flow(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("given", [{"modules": [("conv", "float")]}, {"wide_output": "classifier"}])
def test_settings_of_modules_are_for_k_bit_flows(given):
    with pytest.raises(QuantizationError, match="'f8net' takes no settings of single modules and no 32-bit output"):
        flows.flow("f8net", **given)


@pytest.mark.parametrize("setting", ["int8", "w4", "8-all-layers", "", "9", "w4a0"])
def test_another_setting_is_refused(setting):
    with pytest.raises(QuantizationError, match=r"bits; weights and activations|write conv=float, or bits and options"):
        flows.flow("kbit-8", modules=[("conv", setting)])
