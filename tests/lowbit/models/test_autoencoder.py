from __future__ import annotations

import torch
from torch import nn

from lowbit.models.autoencoder import Autoencoder


def test_the_forward_is_eight_affine_maps_with_relu_except_after_the_fourth_and_the_last():
    torch.manual_seed(0)
    module = Autoencoder().double()
    pictures = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    x = pictures.reshape(2, -1)
    linears = [m for m in module.modules() if isinstance(m, nn.Linear)]
    for number, linear in enumerate(linears, 1):
        x = x @ linear.weight.T + linear.bias
        x = x if number in {4, 8} else x.clamp_min(0)
    torch.testing.assert_close(module(pictures), x, rtol=0, atol=1e-12)


def test_the_code_has_thirty_numbers_and_the_output_the_size_of_the_picture():
    widths = [m.out_features for m in Autoencoder().modules() if isinstance(m, nn.Linear)]
    assert widths == [1000, 500, 250, 30, 250, 500, 1000, 3 * 32 * 32]
