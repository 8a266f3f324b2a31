from __future__ import annotations

import pytest

from bench.data.variant import Variant
from bench.errors import InvalidVariant, NothingMeasured, UnknownName
from bench.run.select import select


def chosen(registry, *patterns, listed=None, **axes):
    return [str(variant) for variant in select(registry, patterns, listed, axes)]


def test_an_id_stands_for_itself(registry):
    assert chosen(registry, "line/descent/none@batch=4") == ["line/descent/none@batch=4"]


def test_a_glob_is_matched_against_every_combination(registry):
    assert chosen(registry, "line/*/none") == ["line/descent/none", "line/rocket/none"]
    assert chosen(registry, "*/descent/none@threads=2") == [
        "line/descent/none@threads=2",
        "picture/descent/none@threads=2",
    ]


def test_a_glob_over_optimizers_leaves_inference_out_unless_it_is_named(registry):
    assert chosen(registry, "*/none/none") == ["line/none/none", "picture/none/none"]


def test_what_is_left_out_stands_for_every_optimizer_and_no_quantization(registry):
    assert chosen(registry, "line/descent@batch=4") == ["line/descent/none@batch=4"]
    assert chosen(registry, "line") == ["line/descent/none", "line/rocket/none"]


def test_axes_are_set_on_all_and_a_variant_is_taken_once(registry):
    assert chosen(registry, "line/descent/none", "line/desc*/none", batch=8) == ["line/descent/none@batch=8"]


def test_with_a_set_patterns_pick_from_the_set(registry):
    listed = ("line/descent/none", "line/descent/none@batch=32", "picture/descent/none")
    assert chosen(registry, listed=listed) == list(listed)
    assert chosen(registry, "line/*/*", listed=listed) == list(listed[:2])


@pytest.mark.parametrize(
    ("pattern", "error", "says"),
    [
        ("lime/descent/none", UnknownName, "unknown model 'lime', did you mean 'line'"),
        ("line/decent/none", UnknownName, "unknown optimizer 'decent', did you mean 'descent'"),
        ("line/descent/frosen", UnknownName, "unknown quantization 'frosen', did you mean 'frozen'"),
        ("lime/*/none", UnknownName, "unknown model"),
        ("line/descent/none@bach=1", UnknownName, "unknown axis 'bach', did you mean 'batch'"),
        ("line/descent/none@batch=0", InvalidVariant, "batch=0"),
        ("", InvalidVariant, "write model, model/optimizer or model/optimizer/quantization"),
        ("line/descent/none/4", InvalidVariant, "in quotes where it has a *"),
        ("line@", InvalidVariant, "ends after '@'"),
        ("z*/descent/none", NothingMeasured, "matches nothing"),
    ],
)
def test_a_selection_that_names_nothing_says_why(registry, pattern, error, says):
    with pytest.raises(error, match=says) as raised:
        chosen(registry, pattern)
    assert "\n" not in str(raised.value)


def test_an_axis_option_out_of_range_is_an_error(registry):
    with pytest.raises(InvalidVariant, match="batch=0: must be 1 or more"):
        select(registry, ["line/descent/none"], None, {"batch": 0})


def test_every_listed_id_must_be_registered(registry):
    with pytest.raises(UnknownName, match="'gone'"):
        chosen(registry, listed=[str(Variant(model="gone", optimizer="descent"))])
