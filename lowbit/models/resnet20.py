"""ResNet-20 for 32x32 pictures, its forward written out line by line."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


def _conv_norm(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1), nn.BatchNorm2d(outputs)


class ResNet20(nn.Module):
    """Twenty layers: a stem, nine blocks of two convolutions, and a linear classifier.

    Takes pictures of shape [batch, 3, 32, 32] and gives logits [batch, num_classes]. 305,114 parameters with 10
    classes. No loop and no nested block stands in `forward`: a line profile of it is a table of the layers.
    """

    def __init__(self, num_classes: int = 10) -> None:
        super().__init__()
        self.conv0, self.norm0 = _conv_norm(3, 16)
        self.pool = nn.MaxPool2d(3, stride=1)
        self.conv1a, self.norm1a = _conv_norm(16, 16)
        self.conv1b, self.norm1b = _conv_norm(16, 16)
        self.conv2a, self.norm2a = _conv_norm(16, 16)
        self.conv2b, self.norm2b = _conv_norm(16, 16)
        self.conv3a, self.norm3a = _conv_norm(16, 16)
        self.conv3b, self.norm3b = _conv_norm(16, 32)
        self.conv4a, self.norm4a = _conv_norm(32, 32, stride=2)
        self.conv4b, self.norm4b = _conv_norm(32, 32)
        self.conv5a, self.norm5a = _conv_norm(32, 32)
        self.conv5b, self.norm5b = _conv_norm(32, 32)
        self.conv6a, self.norm6a = _conv_norm(32, 32)
        self.conv6b, self.norm6b = _conv_norm(32, 64)
        self.conv7a, self.norm7a = _conv_norm(64, 64, stride=2)
        self.conv7b, self.norm7b = _conv_norm(64, 64)
        self.conv8a, self.norm8a = _conv_norm(64, 64)
        self.conv8b, self.norm8b = _conv_norm(64, 64)
        self.conv9a, self.norm9a = _conv_norm(64, 64)
        self.conv9b, self.norm9b = _conv_norm(64, 64)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(64, num_classes)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:  # noqa: PLR0915 - a line a layer is the purpose
        """Classifies pictures of shape [batch, 3, 32, 32]."""
        x = self.conv0(pictures)
        x = self.norm0(x)
        x = F.relu(x)
        x = self.pool(x)

        shortcut = x
        x = self.conv1a(x)
        x = self.norm1a(x)
        x = F.relu(x)
        x = self.conv1b(x)
        x = self.norm1b(x)
        x += shortcut
        x = F.relu(x)

        shortcut = x
        x = self.conv2a(x)
        x = self.norm2a(x)
        x = F.relu(x)
        x = self.conv2b(x)
        x = self.norm2b(x)
        x += shortcut
        x = F.relu(x)

        shortcut = F.pad(x, (0, 0, 0, 0, 0, 16))
        x = self.conv3a(x)
        x = self.norm3a(x)
        x = F.relu(x)
        x = self.conv3b(x)
        x = self.norm3b(x)
        x += shortcut
        x = F.relu(x)

        # The published model pools the padded shortcut of the block before, not that block's output; at the second
        # change of size (block 7) it pools the block's own input. Both are kept, or the times would not compare.
        shortcut = F.avg_pool2d(shortcut, kernel_size=1, stride=2)
        x = self.conv4a(x)
        x = self.norm4a(x)
        x = F.relu(x)
        x = self.conv4b(x)
        x = self.norm4b(x)
        x += shortcut
        x = F.relu(x)

        shortcut = x
        x = self.conv5a(x)
        x = self.norm5a(x)
        x = F.relu(x)
        x = self.conv5b(x)
        x = self.norm5b(x)
        x += shortcut
        x = F.relu(x)

        shortcut = F.pad(x, (0, 0, 0, 0, 0, 32))
        x = self.conv6a(x)
        x = self.norm6a(x)
        x = F.relu(x)
        x = self.conv6b(x)
        x = self.norm6b(x)
        x += shortcut
        x = F.relu(x)

        shortcut = F.avg_pool2d(x, kernel_size=1, stride=2)
        x = self.conv7a(x)
        x = self.norm7a(x)
        x = F.relu(x)
        x = self.conv7b(x)
        x = self.norm7b(x)
        x += shortcut
        x = F.relu(x)

        shortcut = x
        x = self.conv8a(x)
        x = self.norm8a(x)
        x = F.relu(x)
        x = self.conv8b(x)
        x = self.norm8b(x)
        x += shortcut
        x = F.relu(x)

        shortcut = x
        x = self.conv9a(x)
        x = self.norm9a(x)
        x = F.relu(x)
        x = self.conv9b(x)
        x = self.norm9b(x)
        x += shortcut
        x = F.relu(x)

        x = self.average(x)
        x = x.flatten(1)
        logits: torch.Tensor = self.classifier(x)
        return logits
