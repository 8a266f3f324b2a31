from __future__ import annotations

import pytest

from lowbit.deploy.roofline import Bound
from lowbit.deploy.target import InvalidTarget, check, parse, predict
from tests.lowbit.deploy.samples import CHIP, cost

GIVEN = b'{"name": "chip", "peak": {"int8": 1e12}, "bandwidth": 1e9, "on_chip_bytes": 5}'


def test_a_file_says_what_a_device_can_do():
    assert parse(GIVEN).peak == {"int8": 1e12}


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (b'"bandwidth": 1e9', b'"bandwith": 1e9', "bandwith"),
        (b"1e9", b"0", "bandwidth"),
        (b"1e12", b'"fast"', "peak"),
        (b'{"int8": 1e12}', b"{}", "peak"),
        (b": 5}", b": -1}", "on_chip_bytes"),
        (b": 5}", b": 5", "truncated"),
        (b'"name": "chip", ', b"", "name"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(old, new, word):
    with pytest.raises(InvalidTarget, match=word):
        parse(GIVEN.replace(old, new))


def test_what_fits_on_the_chip_together_is_not_moved_but_weights_are():
    # 6 kB of activations fit into 10 kB: 1 kB of weights is left to move, in a microsecond.
    assert predict(cost(operations=0), CHIP) == Bound(seconds=1e-6, by="memory")
    assert predict(cost(operations=0, external=2000), CHIP).seconds == pytest.approx(3e-6)
    large = cost(operations=0, inputs={"float32": 7000})
    assert predict(large, CHIP).seconds == pytest.approx(12e-6)


def test_weights_of_integers_are_computed_as_integers_there():
    simulated = cost(weights={"int8": 250}, operations=2_000_000)
    assert predict(simulated, CHIP) == Bound(seconds=2e-6, by="compute")
    assert predict(cost(), CHIP) == Bound(seconds=2e-4, by="compute")


def test_a_layer_for_which_there_is_no_peak_is_named():
    with pytest.raises(InvalidTarget, match="no peak for float32, which layer 'conv' needs; there is int8"):
        check(parse(GIVEN), [cost(weights={"int8": 1}), cost()])
    check(parse(GIVEN), [cost(weights={"int8": 1}), cost(operations=0, arithmetic=None)])
