"""The backbone of XFeat (Potje et al., CVPR 2024, section 3.1), the batch norms folded into the convolutions.

64 channels at 1/8 of the image, made for matching photographs of one scene. The weights stay frozen;
`tools/convert_backbones.py` makes the state dict from the published checkpoint.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 64
INSTANCE_EPSILON = 1e-5


class XFeatBackbone(nn.Module):
    """Thin early layers, three scales from 1/8 to 1/32, their sum fused at 1/8."""

    def __init__(self) -> None:
        super().__init__()
        self.skip = nn.Conv2d(1, 24, kernel_size=1)
        self.block1 = _layers((1, 4, 8, 8, 24), strides=(1, 2, 1, 2))
        self.block2 = _layers((24, 24, 24), strides=(1, 1))
        self.block3 = _layers((24, 64, 64), strides=(2, 1), last=64)
        self.block4 = _layers((64, 64, 64, 64), strides=(2, 1, 1))
        self.block5 = _layers((64, 128, 128, 128), strides=(2, 1, 1), last=64)
        self.fusion = _layers((64, 64, 64), strides=(1, 1))
        self.head = nn.Conv2d(64, CHANNELS, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Features ``(B, 64, H/8, W/8)`` of RGB ``(B, 3, H, W)`` in any unit, sides multiples of 32."""
        grey = image.mean(dim=1, keepdim=True)
        deviation, mean = torch.std_mean(grey, dim=(2, 3), keepdim=True, correction=0)
        grey = (grey - mean) * torch.rsqrt(deviation.square() + INSTANCE_EPSILON)
        quarter = self.block2(self.block1(grey) + self.skip(F.avg_pool2d(grey, 4)))
        eighth = self.block3(quarter)
        sixteenth = self.block4(eighth)
        thirty_second = self.block5(sixteenth)
        size = (eighth.shape[2], eighth.shape[3])
        joined = eighth + _enlarged(sixteenth, size) + _enlarged(thirty_second, size)
        result: Tensor = self.head(self.fusion(joined))
        return result


def _layers(channels: tuple[int, ...], *, strides: tuple[int, ...], last: int = 0) -> nn.Sequential:
    """3x3 convolutions with ReLU through ``channels``, then a 1x1 one to ``last`` channels if given."""
    layers: list[nn.Module] = []
    for (before, after), stride in zip(pairwise(channels), strides, strict=True):
        layers += [nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1), nn.ReLU(inplace=True)]
    if last:
        layers += [nn.Conv2d(channels[-1], last, kernel_size=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size, mode="bilinear", align_corners=False)
