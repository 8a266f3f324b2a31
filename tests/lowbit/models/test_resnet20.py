from __future__ import annotations

import inspect

import torch
import torch.nn.functional as F

from lowbit.models.resnet20 import ResNet20

# in, mid, out, stride of each block
BLOCKS = [(16, 16, 16, 1)] * 2 + [(16, 16, 32, 1), (32, 32, 32, 2), (32, 32, 32, 1), (32, 32, 64, 1), (64, 64, 64, 2)]
BLOCKS += [(64, 64, 64, 1)] * 2


def transcription(module, x):
    """The published forward as a loop over blocks, with the shortcut pooled as it is there."""
    layer = dict(module.named_modules())
    x = F.max_pool2d(F.relu(layer["norm0"](layer["conv0"](x))), 3, 1)
    shortcut = None
    pooled = 0
    for number, (inputs, _, outputs, stride) in enumerate(BLOCKS, 1):
        if stride == 2:
            shortcut = F.avg_pool2d(shortcut if pooled == 0 else x, 1, 2)
            pooled += 1
        else:
            shortcut = torch.cat([x, x.new_zeros(len(x), outputs - inputs, *x.shape[2:])], 1)
        y = F.relu(layer[f"norm{number}a"](layer[f"conv{number}a"](x)))
        x = F.relu(layer[f"norm{number}b"](layer[f"conv{number}b"](y)) + shortcut)
    return layer["classifier"](x.mean((2, 3)))


def test_the_forward_written_out_is_the_published_one():
    torch.manual_seed(0)
    module = ResNet20().double()
    pictures = torch.randn(3, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(module(pictures), transcription(module, pictures), rtol=0, atol=1e-12)


def test_the_forward_has_a_line_for_each_layer_and_no_loop():
    source = inspect.getsource(ResNet20.forward)
    assert " for " not in source
    for line in source.splitlines():
        assert line.count("self.conv") + line.count("self.norm") + line.count("F.relu") <= 1
    assert sum("self.conv" in line for line in source.splitlines()) == 19


def test_blocks_have_the_published_channels_and_strides():
    module = ResNet20()
    for number, (inputs, mid, outputs, stride) in enumerate(BLOCKS, 1):
        first, second = getattr(module, f"conv{number}a"), getattr(module, f"conv{number}b")
        assert (first.in_channels, first.out_channels, first.stride) == (inputs, mid, (stride, stride))
        assert (second.in_channels, second.out_channels, second.stride) == (mid, outputs, (1, 1))
