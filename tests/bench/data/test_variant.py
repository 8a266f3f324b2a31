from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.data.variant import Variant
from bench.errors import InvalidVariant, UnknownName
from tests.strategies import variants


@given(variants)
def test_an_id_reads_back_as_its_variant(variant):
    assert Variant.parse(str(variant)) == variant


@given(first=variants, second=variants)
def test_variants_are_the_same_exactly_when_their_ids_are(first, second):
    assert (first == second) == (str(first) == str(second))


@given(st.text(max_size=30) | st.text(alphabet="ab1-/@=,.", max_size=30))
def test_any_text_is_a_variant_or_a_usage_error(text):
    with contextlib.suppress(InvalidVariant, UnknownName):
        assert Variant.parse(str(Variant.parse(text))) == Variant.parse(text)


@given(variants)
def test_axes_are_read_in_any_order(variant):
    path, at, settings = str(variant).partition("@")
    turned = ",".join(reversed(settings.split(",")))
    assert Variant.parse(f"{path}{at}{turned}") == variant


def test_axes_at_their_default_are_left_out_and_understood():
    assert str(Variant.parse("resnet20/eva-8bit/none@batch=1,threads=1")) == "resnet20/eva-8bit/none"
    assert str(Variant.parse("vit/sgd/none@compiled=true,batch=4")) == "vit/sgd/none@batch=4,compiled=true"


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("resnet20/eva", InvalidVariant, "write model/optimizer/quantization"),
        ("", InvalidVariant, "write model/optimizer/quantization"),
        ("a/b/c/d", InvalidVariant, "write model/optimizer/quantization"),
        ("A/b/c", InvalidVariant, "lower case"),
        ("a//c", InvalidVariant, "lower case"),
        ("-a/b/c", InvalidVariant, "lower case"),
        ("a/b/c@", InvalidVariant, "ends after '@'"),
        ("a/b/c@batch", InvalidVariant, "has no value"),
        ("a/b/c@batch=", InvalidVariant, "has no value"),
        ("a/b/c@batch=0", InvalidVariant, "1 or more"),
        ("a/b/c@batch=-1", InvalidVariant, "whole number"),
        ("a/b/c@batch=1.5", InvalidVariant, "whole number"),
        ("a/b/c@threads=0", InvalidVariant, "1 or more"),
        ("a/b/c@batch=1,batch=2", InvalidVariant, "given twice"),
        ("a/b/c\n", InvalidVariant, "lower case"),
        ("a/b/c@batch=\u0663", InvalidVariant, "whole number"),
        ("a/b/c@device=cpu\n", InvalidVariant, "cpu, cuda or cuda:N"),
        ("a/b/c@device=cuda:\u0663", InvalidVariant, "cpu, cuda or cuda:N"),
        ("a/b/c@batch=1\n", InvalidVariant, "whole number"),
        ("a/b/c@compiled=true\n", InvalidVariant, "true or false"),
        ("a/b/c@bacth=1", UnknownName, "did you mean 'batch'"),
        ("a/b/c@dtype=float23", UnknownName, "did you mean"),
        ("a/b/c@compiled=yes", InvalidVariant, "true or false"),
        ("a/b/c@ranks=0", InvalidVariant, "1 or more"),
        ("a/b/c@ranks=2,device=cuda:1", InvalidVariant, "each rank has its own; write cuda"),
        ("a/b/c@device=gpu", InvalidVariant, "cpu, cuda or cuda:N"),
    ],
)
def test_what_is_no_id_says_what_is_allowed(text, error, says):
    with pytest.raises(error, match=says) as raised:
        Variant.parse(text)
    assert "\n" not in str(raised.value)


def test_axes_are_changed_where_a_value_is_given():
    variant = Variant.parse("a/b/c@batch=2")
    assert str(variant.with_axes(batch=None, threads=3)) == "a/b/c@batch=2,threads=3"
