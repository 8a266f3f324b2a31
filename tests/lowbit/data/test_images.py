from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lowbit.data.images import ImageSet


def numbered(count):
    """A set whose picture number k is filled with the brightness k and labelled k."""
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    return ImageSet.from_bytes(images, torch.arange(count, dtype=torch.uint8))


@given(count=st.integers(2, 9))
def test_one_constant_and_one_scale_normalize_the_whole_set(count):
    found = numbered(count)
    assert found.images.dtype == torch.float32
    assert found.labels.dtype == torch.int64
    assert abs(found.images.mean()) < 1e-5
    assert abs(found.images.std() - 1) < 1e-5
    steps = found.images[:, 0, 0, 0].diff()
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), rtol=1e-4, atol=0)


def test_pictures_of_one_color_become_zero_instead_of_nan():
    found = ImageSet.from_bytes(torch.full((2, 3, 32, 32), 7, dtype=torch.uint8), torch.tensor([0, 1]))
    assert found.images.abs().max() < 1e-3


@given(batch=st.integers(1, 30), seed=st.integers(0, 99))
def test_a_picture_is_drawn_with_its_own_label(batch, seed):
    """The set holds five pictures, so that larger batches show that they are drawn with replacement."""
    found = numbered(5)
    inputs, targets = found.sample(batch, torch.Generator().manual_seed(seed))
    assert inputs.shape == (batch, 3, 32, 32)
    assert targets.shape == (batch,)
    assert torch.equal(inputs, found.images[targets])


def test_the_generator_alone_decides_what_is_drawn():
    found = numbered(9)
    state = torch.random.get_rng_state()
    first, again, other = (found.sample(20, torch.Generator().manual_seed(seed))[1] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_every_picture_can_be_drawn():
    assert set(numbered(9).sample(500, torch.Generator().manual_seed(0))[1].tolist()) == set(range(9))


def test_a_set_is_not_changed_after_it_was_made():
    with pytest.raises(dataclasses.FrozenInstanceError):
        numbered(2).labels = torch.zeros(2)
