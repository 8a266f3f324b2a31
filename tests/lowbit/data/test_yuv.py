from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowbit.data.yuv import centered_yuv_bytes, centered_yuv_to_rgb, rgb_to_centered_yuv

# JFIF 1.02, page 3, written out, with Cb and Cr less their offset of 128.
JFIF = torch.tensor([[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], dtype=torch.float64)
pixels = st.tuples(*[st.integers(0, 255)] * 3)


def picture(*colors):
    return torch.tensor(colors, dtype=torch.float64).T.reshape(3, 1, -1)


@given(pixels)
def test_it_is_the_published_matrix_to_its_four_digits(color):
    found = rgb_to_centered_yuv(picture(color)).flatten()
    expected = JFIF @ torch.tensor(color, dtype=torch.float64) - torch.tensor([128.0, 0.0, 0.0])
    torch.testing.assert_close(found, expected, rtol=0, atol=255 * 5e-5)


@given(pixels)
def test_it_is_the_formula_of_bt_601(color):
    red, green, blue = color
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    expected = [luma - 128, (blue - luma) / 1.772, (red - luma) / 1.402]
    assert rgb_to_centered_yuv(picture(color)).flatten().tolist() == pytest.approx(expected, abs=1e-12)


@given(st.lists(pixels, min_size=1, max_size=5))
def test_the_inverse_gives_the_picture_back(colors):
    rgb = picture(*colors)
    torch.testing.assert_close(centered_yuv_to_rgb(rgb_to_centered_yuv(rgb)), rgb, rtol=0, atol=1e-11)


@given(pixels)
def test_bytes_come_back_within_the_rounding(color):
    """Half a step of each of Y, U and V is at most 1.4 of red and blue; clamping U or V at 127 costs no more."""
    rgb = torch.tensor(color, dtype=torch.uint8).reshape(3, 1, 1)
    codes = centered_yuv_bytes(rgb)
    assert codes.dtype == torch.int8
    assert float((centered_yuv_to_rgb(codes.double()) - rgb).abs().max()) <= 1.4


@pytest.mark.parametrize(
    ("color", "codes"),
    [
        ((0, 0, 0), [-128, 0, 0]),
        ((255, 255, 255), [127, 0, 0]),
        ((255, 0, 0), [-52, -43, 127]),
        ((0, 0, 255), [-99, 127, -21]),
    ],
)
def test_corners_of_the_range(color, codes):
    assert centered_yuv_bytes(torch.tensor(color, dtype=torch.uint8).reshape(3, 1, 1)).flatten().tolist() == codes


def test_pictures_of_a_batch_are_converted_one_by_one():
    batch = torch.randint(256, (2, 3, 4, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    found = centered_yuv_bytes(batch)
    assert found.shape == batch.shape
    assert torch.equal(found[1], centered_yuv_bytes(batch[1]))
