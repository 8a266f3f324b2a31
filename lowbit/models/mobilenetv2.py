"""MobileNetV2 (arXiv 1801.04381) with torchvision's strides."""

from __future__ import annotations

import torch
from torch import nn

# Section 3.4, table 2: expansion, channels, repetitions, stride of the first.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class ConvNormReLU(nn.Sequential):
    """A convolution without bias, batch normalization, and ReLU6."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """Expands, filters each channel, and projects back without a non-linearity (section 3.3)."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [ConvNormReLU(inputs, hidden, kernel=1)]
        layers += [
            ConvNormReLU(hidden, hidden, stride=stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        self.layers = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Adds the shortcut where shapes allow it."""
        output: torch.Tensor = self.layers(x)
        return x + output if self.has_shortcut else output


class MobileNetV2(nn.Module):
    """The network of table 2 with a linear classifier behind dropout.

    Takes pictures of shape [batch, 3, height, width] and gives logits [batch, num_classes]. 2,236,682 parameters with
    10 classes.
    """

    def __init__(self, num_classes: int = 10, *, dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = [ConvNormReLU(3, 32, stride=2)]
        inputs = 32
        for expansion, channels, repetitions, stride in STAGES:
            for index in range(repetitions):
                layers.append(
                    InvertedResidual(inputs, channels, stride=stride if index == 0 else 1, expansion=expansion)
                )
                inputs = channels
        layers.append(ConvNormReLU(inputs, 1280, kernel=1))
        self.features = nn.Sequential(*layers)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(1280, num_classes))
        # torchvision's initialization; with the default of Linear and Conv2d, training starts by blowing up.
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Classifies pictures."""
        features = self.average(self.features(pictures)).flatten(1)
        logits: torch.Tensor = self.classifier(features)
        return logits
