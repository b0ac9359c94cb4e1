"""EfficientNet-Lite0 up to its second block at 1/32, the batch norms folded into the convolutions.

Tan and Le 2019 (the architecture), TensorFlow's EfficientNet-Lite release (no squeeze-and-excitation, ReLU6).
The weights were trained on ImageNet and stay frozen; `tools/convert_backbones.py` makes the state dict from
the published checkpoint.
"""

from __future__ import annotations

from collections.abc import Collection

import torch.nn.functional as F
from torch import Tensor, nn

STEM_CHANNELS = 32
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 2),
)
"""Kernel, stride of the first block, expansion, channels, blocks; the published network goes on with two more
blocks of 192 channels, and one of 320."""


class EfficientNetLite(nn.Module):
    """Thirteen inverted residual blocks; any of their outputs are features."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, STEM_CHANNELS, kernel_size=3, stride=2)
        blocks: list[nn.Module] = []
        before = STEM_CHANNELS
        for kernel, stride, expansion, channels, repeats in STAGES:
            for repeat in range(repeats):
                blocks.append(
                    InvertedResidual(before, channels, kernel, stride if repeat == 0 else 1, expansion)
                )
                before = channels
        self.blocks = nn.ModuleList(blocks)

    def forward(self, image: Tensor, wanted: Collection[int]) -> list[Tensor]:
        """The outputs of the blocks ``wanted`` (0 to 12, in ascending order).

        Args:
            image: ``(B, 3, H, W)`` RGB grey levels, 0 to 255; sides that are multiples of 32.
            wanted: block 7 ends at 1/16 with 80, 10 at 1/16 with 112, 11 and 12 at
                1/32 with 192.
        """
        x = F.relu6(_same_padded(self.stem, (image - 127.0) / 128.0))
        features = []
        for index, block in enumerate(self.blocks[: max(wanted) + 1]):
            x = block(x)
            if index in wanted:
                features.append(x)
        return features


class InvertedResidual(nn.Module):
    """Expansion, depth-wise convolution, linear projection; added to its input where the shapes agree."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = before * expansion
        self.expand = nn.Conv2d(before, wide, kernel_size=1) if expansion > 1 else None
        self.depthwise = nn.Conv2d(wide, wide, kernel_size=kernel, stride=stride, groups=wide)
        self.project = nn.Conv2d(wide, after, kernel_size=1)
        self.residual = stride == 1 and before == after

    def forward(self, x: Tensor) -> Tensor:
        """``(B, before, H, W)`` to ``(B, after, H / stride, W / stride)``."""
        wide = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        result: Tensor = self.project(F.relu6(_same_padded(self.depthwise, wide), inplace=True))
        return x + result if self.residual else result


def _same_padded(convolution: nn.Conv2d, x: Tensor) -> Tensor:
    """Convolve with TensorFlow's SAME padding: what is odd goes to the bottom and the right."""
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    if stride == 1:
        # Symmetric: the convolution pads by itself, without a copy.
        return F.conv2d(
            x, convolution.weight, convolution.bias, padding=kernel // 2, groups=convolution.groups
        )
    rows, columns = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[2:])
    padded = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    result: Tensor = convolution(padded)
    return result
