"""RGB pictures as a camera pipeline gives them: YUV 4:4:4, full range, centred about zero.

The matrix is that of ITU-R BT.601-7, section 2.5 (luma weights 0.299, 0.587, 0.114), with the full range of JFIF 1.02:
Y from 0 to 255, here less 128, and U and V from -127.5 to 127.5, with no offset.
"""

from __future__ import annotations

import torch

RED, GREEN, BLUE = 0.299, 0.587, 0.114
CENTER = 128


def rgb_to_centered_yuv(rgb: torch.Tensor) -> torch.Tensor:
    """Returns Y - 128, U and V of pictures [..., 3, height, width] of 0 to 255, in their floating dtype.

    Y = 0.299 R + 0.587 G + 0.114 B; U = (B - Y) / 1.772; V = (R - Y) / 1.402, where 1.772 = 2 (1 - 0.114) and
    1.402 = 2 (1 - 0.299).
    """
    red, green, blue = rgb.unbind(-3)
    luma = RED * red + GREEN * green + BLUE * blue
    return torch.stack([luma - CENTER, (blue - luma) / (2 * (1 - BLUE)), (red - luma) / (2 * (1 - RED))], dim=-3)


def centered_yuv_to_rgb(yuv: torch.Tensor) -> torch.Tensor:
    """Returns red, green and blue of centred YUV [..., 3, height, width]: the inverse."""
    luma, blueness, redness = yuv.unbind(-3)
    luma = luma + CENTER
    blue = luma + 2 * (1 - BLUE) * blueness
    red = luma + 2 * (1 - RED) * redness
    return torch.stack([red, (luma - RED * red - BLUE * blue) / GREEN, blue], dim=-3)


def centered_yuv_bytes(rgb: torch.Tensor) -> torch.Tensor:
    """Returns int8 codes of pictures of bytes, uint8 [..., 3, height, width], rounded half to even and clamped."""
    exact = rgb_to_centered_yuv(rgb.to(torch.float64))
    return exact.round().clamp(-CENTER, CENTER - 1).to(torch.int8)
