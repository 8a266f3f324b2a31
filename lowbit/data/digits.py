"""scikit-learn's handwritten digits, scaled up: real pictures that every installation has."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lowbit.data.images import ImageSet


def digits() -> ImageSet:
    """Returns the 1,797 digits as pictures of 3x32x32."""
    return ImageSet.from_bytes(*digit_bytes())


def digit_bytes() -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the digits before normalization: uint8 [1797, 3, 32, 32], and their labels, int64.

    The originals are 8x8 with values 0..16; they are interpolated bilinearly and repeated over the three channels.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = torch.from_numpy(bunch.images).to(torch.float32).unsqueeze(1) * (255 / 16)
    large = F.interpolate(small, size=(32, 32), mode="bilinear", align_corners=False)
    return large.round().to(torch.uint8).expand(-1, 3, -1, -1), torch.from_numpy(bunch.target).to(torch.int64)
