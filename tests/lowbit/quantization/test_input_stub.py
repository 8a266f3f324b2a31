from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowbit.data.split import digits
from lowbit.quantization.flow import QuantizationError
from lowbit.quantization.input_stub import CAMERA, InputStub, parse_scale


def test_it_is_rounding_to_signed_bytes_of_the_scale():
    values = torch.tensor([-3.0, -1.0, -0.49 / 128, 0.0, 0.5 / 128, 1.5 / 128, 127.4 / 128, 1.0], dtype=torch.float64)
    expected = [-128, -128, 0, 0, 0, 2, 127, 127]
    stub = InputStub()
    assert stub.codes(values).tolist() == expected
    assert stub.codes(values).dtype == torch.int8
    assert stub(values).tolist() == [code / 128 for code in expected]


@pytest.mark.parametrize("yuv", [True, False])
def test_it_loses_nothing_of_a_camera_s_pictures(yuv):
    pictures = digits(camera=True, yuv=yuv).test.images
    stub = InputStub(CAMERA)
    assert torch.equal(stub(pictures), pictures)
    assert torch.equal(stub.codes(pictures).float() / 128, pictures)


def test_the_gradient_passes_where_nothing_was_clamped():
    values = torch.tensor([-2.0, -1.0, 0.3, 0.99, 2.0], requires_grad=True)
    InputStub()(values).sum().backward()
    assert values.grad.tolist() == [0, 1, 1, 1, 0]


def test_nothing_that_it_sees_changes_it():
    stub = InputStub().train()
    before = {name: value.clone() for name, value in stub.state_dict().items()}
    stub(torch.randn(100) * 50)
    assert all(torch.equal(before[name], value) for name, value in stub.state_dict().items())


@given(st.integers(1, 4096), st.integers(1, 4096))
def test_a_scale_is_read_as_a_fraction_or_a_number(numerator, denominator):
    assert parse_scale(f"{numerator}/{denominator}") == numerator / denominator
    assert parse_scale(repr(numerator / denominator)) == numerator / denominator


@pytest.mark.parametrize("text", ["0", "-1/128", "1/0", "nan", "inf", "1e999", "wide", "", "1/128/2"])
def test_another_scale_is_refused(text):
    with pytest.raises(QuantizationError, match="must be a positive number, such as 1/128"):
        parse_scale(text)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_a_stub_of_another_scale_is_refused(scale):
    with pytest.raises(QuantizationError, match="must be a positive number"):
        InputStub(scale)
