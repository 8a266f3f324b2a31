"""Kronecker vectors in C++ beside those of torch's operations."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lowbit.optimizers import small_layers
from lowbit.optimizers.native.vectors import Vectors

generator = torch.Generator().manual_seed(0)


class Pass(NamedTuple):
    """One pass through a layer: its inputs, and its output's gradient."""

    layer: nn.Module
    inputs: torch.Tensor
    gradient: torch.Tensor


def of_convolution(layer, size, count=3):
    inputs = torch.randn(count, layer.in_channels, *size, generator=generator)
    with torch.no_grad():
        shape = layer(inputs).shape
    return Pass(layer, inputs, torch.randn(shape, generator=generator))


def both(passes, vectors, samples=2):
    """Returns mean inputs and mean gradients, by torch's operations and by C++."""
    layers = [each.layer for each in passes]
    for inputs in (True, False):
        seen = [each.inputs if inputs else each.gradient for each in passes]
        yield from zip(
            small_layers.vectors(layers, seen, samples, inputs=inputs),
            vectors(layers, seen, inputs=inputs),
            strict=True,
        )


def close(passes, samples=2):
    for expected, found in both(passes, Vectors(samples), samples):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    size=st.tuples(st.integers(8, 36), st.integers(8, 36)),
)
def test_the_vectors_of_a_convolution(kernel, stride, dilation, padding, size):
    close([of_convolution(nn.Conv2d(2, 3, kernel, stride, padding, dilation), size)])


def test_a_pixel_that_a_kernel_sees_among_padding():
    close([of_convolution(nn.Conv2d(2, 3, 1, padding=1), (1, 1)), of_convolution(nn.Conv2d(2, 3, 1), (1, 1))])


@pytest.mark.parametrize("shape", [(5, 4), (5, 6, 4), (1, 4)])
def test_the_vectors_of_linear_layers_beside_others(shape):
    linear = Pass(nn.Linear(4, 3), torch.randn(shape), torch.randn(*shape[:-1], 3))
    close([of_convolution(nn.Conv2d(3, 4, 3, padding="same", groups=1), (9, 8)), linear, linear])


def test_what_is_laid_out_serves_the_next_step_and_not_another_shape():
    vectors, layer = Vectors(2), nn.Conv2d(3, 4, 3, padding=1)
    for size in ((8, 8), (8, 8), (9, 7), (8, 8)):
        for expected, found in both([of_convolution(layer, size)], vectors):
            torch.testing.assert_close(found, expected)


def test_a_kernel_may_move_in_another_way_from_one_step_to_the_next():
    vectors, layer = Vectors(2), nn.Conv2d(3, 4, 3, padding=1)
    for dilation in (1, 2, 1):
        layer.padding = layer.dilation = (dilation, dilation)
        layer._reversed_padding_repeated_twice = [dilation] * 4
        for expected, found in both([of_convolution(layer, (9, 9))], vectors):
            torch.testing.assert_close(found, expected)


def test_plans_of_ever_other_layers_are_not_all_kept(monkeypatch):
    monkeypatch.setattr("lowbit.optimizers.native.vectors.PLANS", 3)
    vectors = Vectors(2)
    for _ in range(8):
        for expected, found in both([of_convolution(nn.Conv2d(3, 4, 3), (8, 8))], vectors):
            torch.testing.assert_close(found, expected)
        assert len(vectors._plans) <= 3


def test_what_is_not_plain_is_left_to_torchs_operations():
    layer = nn.Conv2d(3, 4, 3, padding=1)
    each = of_convolution(layer, (8, 8))
    laid_out = each._replace(inputs=each.inputs.contiguous(memory_format=torch.channels_last))
    close([laid_out, each])
    close([each._replace(inputs=each.inputs.double(), gradient=each.gradient.double())])
    close([of_convolution(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), (8, 8))])
    assert Vectors(2)([], [], inputs=True) == []
