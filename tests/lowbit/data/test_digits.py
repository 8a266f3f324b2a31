from __future__ import annotations

import torch

from lowbit.data.digits import digits


def test_digits_are_real_pictures_with_their_labels():
    found = digits()
    assert found.images.shape == (1797, 3, 32, 32)
    assert sorted(set(found.labels.tolist())) == list(range(10))
    assert abs(found.images.mean()) < 1e-4
    assert abs(found.images.std() - 1) < 1e-4
    assert torch.equal(found.images[:, 0], found.images[:, 2])


def test_a_digit_scaled_down_is_the_original():
    from sklearn.datasets import load_digits

    small = torch.nn.functional.avg_pool2d(digits().images[:50], 4)[:, 0].flatten()
    original = torch.from_numpy(load_digits().images[:50]).float().flatten()
    assert torch.corrcoef(torch.stack([small, original]))[0, 1] > 0.97
