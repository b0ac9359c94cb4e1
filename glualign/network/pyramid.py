"""The shared feature pyramid: the convolutions of VGG-16 up to conv4_3 (GLU-Net paper, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn


def conv3x3_relu(*channels: int) -> list[nn.Module]:
    """Alternate 3x3 convolutions and ReLUs through the given channel counts."""
    layers: list[nn.Module] = []
    for before, after in pairwise(channels):
        layers += [nn.Conv2d(before, after, kernel_size=3, padding=1), nn.ReLU(inplace=True)]
    return layers


class VGGPyramid(nn.Module):
    """Features at 1/4, 1/8 and 1/16 of an image, each taken after its max-pool, as VGG-16 lays them out.

    The groups carry the names and layer indices of the official state dict (``level_3.4`` and so on).
    """

    def __init__(self, channels: Sequence[int], *, coarse: bool = True) -> None:
        """``coarse`` is false where 1/16 is not wanted of it."""
        super().__init__()
        full, quarter, eighth, sixteenth = channels
        pool = nn.MaxPool2d(kernel_size=2, stride=2)
        self.level_0 = nn.Sequential(*conv3x3_relu(3, full))
        self.level_1 = nn.Sequential(*conv3x3_relu(full, full), pool)
        self.level_2 = nn.Sequential(*conv3x3_relu(full, quarter, quarter), pool)
        self.level_3 = nn.Sequential(*conv3x3_relu(quarter, eighth, eighth, eighth), pool)
        if coarse:
            self.level_4 = nn.Sequential(*conv3x3_relu(eighth, sixteenth, sixteenth, sixteenth), pool)

    def working_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(B, C, H/4, W/4)`` and ``(B, C, H/8, W/8)`` of a normalised image ``(B, 3, H, W)``."""
        return self.beyond_half(self.half_features(image))

    def half_features(self, image: Tensor) -> Tensor:
        """Features ``(B, C, H/2, W/2)`` of a normalised image ``(B, 3, H, W)``, before the pool to 1/4."""
        result: Tensor = self.level_2[:-1](self.level_1(self.level_0(image)))
        return result

    def beyond_half(self, half: Tensor) -> tuple[Tensor, Tensor]:
        """Features at 1/4 and 1/8 from those at 1/2."""
        quarter = self.level_2[-1](half)
        return quarter, self.level_3(quarter)

    def coarse_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Features at 1/8 and 1/16 of a normalised image ``(B, 3, 256, 256)``."""
        eighth = self.working_features(image)[1]
        return eighth, self.level_4(eighth)
