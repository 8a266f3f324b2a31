from __future__ import annotations

import torch

from lowbit.data.synthetic import sample


def test_pictures_are_standard_normal_and_labels_uniform():
    images, labels = sample(1000, torch.Generator().manual_seed(0))
    assert images.shape == (1000, 3, 32, 32)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    # Three million draws: the bounds are about five standard errors.
    assert abs(images.mean()) < 3e-3
    assert abs(images.std() - 1) < 3e-3
    # 100 of each label are expected, with a standard deviation of 9.5.
    counts = labels.bincount(minlength=10)
    assert len(counts) == 10
    assert (counts - 100).abs().max() < 48


def test_the_generator_alone_decides_what_is_drawn():
    state = torch.random.get_rng_state()
    (first, labels), (again, _), (other, _) = (sample(6, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert labels.shape == (6,)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_each_batch_is_drawn_afresh():
    generator = torch.Generator().manual_seed(0)
    assert not torch.equal(sample(2, generator)[0], sample(2, generator)[0])
