from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lowbit.optimizers.kronecker import input_vector, output_vector


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    size=st.tuples(st.integers(8, 12), st.integers(8, 12)),
)
def test_the_vector_of_a_convolution_is_its_mean_patch(kernel, stride, dilation, padding, size):
    layer = nn.Conv2d(2, 3, kernel, stride, padding, dilation).double()
    inputs = torch.randn(5, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    patches = F.unfold(inputs[:4], kernel, dilation, padding, stride)
    expected = patches.mean((0, 2))
    torch.testing.assert_close(input_vector(layer, inputs, 4), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_other_paddings_are_those_of_the_layer(mode):
    layer = nn.Conv2d(2, 3, 3, padding=(1, 2), padding_mode=mode).double()
    inputs = torch.randn(2, 2, 7, 6, dtype=torch.float64)
    padded = F.pad(inputs, (2, 2, 1, 1), mode=mode)
    torch.testing.assert_close(input_vector(layer, inputs, 16), F.unfold(padded, 3).mean((0, 2)), rtol=0, atol=1e-12)


def test_linear_vectors_are_means_over_all_dimensions_but_the_last():
    layer = nn.Linear(4, 3)
    inputs, gradient = torch.randn(5, 6, 4), torch.randn(5, 6, 3)
    torch.testing.assert_close(input_vector(layer, inputs, 2), inputs[:2].mean((0, 1)))
    torch.testing.assert_close(output_vector(layer, gradient, 2), gradient[:2].mean((0, 1)))
    torch.testing.assert_close(output_vector(layer, gradient[0, 0], 2), gradient[0, 0])


def test_the_gradient_of_a_convolution_is_averaged_over_positions():
    gradient = torch.randn(5, 3, 4, 2)
    torch.testing.assert_close(output_vector(nn.Conv2d(1, 3, 1), gradient, 2), gradient[:2].mean((0, 2, 3)))
    torch.testing.assert_close(output_vector(nn.Conv2d(1, 3, 1), gradient[0], 2), gradient[0].mean((1, 2)))
