"""Coarse features from two frozen pretrained networks, joined into one vector a cell.

EfficientNet-Lite0 knows what things are (objects of a class, another sensor), XFeat tells the places of one
scene apart. Untrained, together, they find 88 % of the coarse matches of real pairs, where features trained
on synthetic pairs alone find 73 % (`benchmarks/coarse_matches.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glualign.network import xfeat
from glualign.network.correlation import unit_vectors
from glualign.network.efficientnet_lite import EfficientNetLite
from glualign.network.warping import MEAN, STD, resize_bilinear

BLOCKS = (7, 9, 10, 11, 12)
"""Of EfficientNet-Lite0, for the cells of 1/16; the last two are at 1/32. Without 7, .865 instead of .880 of
the matches are found; XFeat at 512 beside 256 adds nothing (`benchmarks/coarse_matches.py`)."""
CHANNELS = 80 + 112 + 112 + 192 + 192 + xfeat.CHANNELS


class PretrainedFeatures(nn.Module):
    """Unit vectors at 1/16; each part is centred by its mean over the image, and all count alike."""

    def __init__(self) -> None:
        super().__init__()
        self.efficientnet = EfficientNetLite()
        self.xfeat = xfeat.XFeatBackbone()
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 752, H/16, W/16)`` of a normalised image ``(B, 3, H, W)``, sides multiples of 32."""
        # In float32 whatever the autocast: the features are small, and what is centred needs the digits.
        with torch.autocast(image.device.type, enabled=False):
            mean = image.new_tensor(MEAN).view(1, 3, 1, 1)
            std = image.new_tensor(STD).view(1, 3, 1, 1)
            levels = (image.float() * std + mean) * 255
            blocks = self.efficientnet(levels, BLOCKS)
            size = (blocks[0].shape[2], blocks[0].shape[3])
            parts = [resize_bilinear(block, size) for block in blocks]
            return _joined([*parts, F.avg_pool2d(self.xfeat(levels), 2)])


def _joined(parts: list[Tensor]) -> Tensor:
    """Each part centred over the image, at unit length; then all as one unit vector."""
    centred = [unit_vectors(part - part.mean(dim=(2, 3), keepdim=True)) for part in parts]
    return unit_vectors(torch.cat(centred, dim=1))
