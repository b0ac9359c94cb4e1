"""Features of images: the pyramid of the paper, and frozen pretrained networks.

The latter take the place of the pyramid's level at 1/16 in this project's own networks.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise, repeat

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glualign.network.correlation import unit_vectors
from glualign.network.warping import MEAN, STD, resize_bilinear

LITE_STEM = 32
LITE_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 2),
)
"""EfficientNet-Lite0: kernel, stride of the first block, expansion, channels, blocks; the published network
goes on with two more blocks of 192 channels, and one of 320."""
LITE_BLOCKS = range(4, 13)
"""Blocks whose outputs are coarse features, from 1/8 (block 4) to 1/32 (11 and 12). Untrained, blocks 7 and 9
to 12 find a tenth more cells (`benchmarks/coarse_matches.py`), but fewer motions: by frozen
features alone 80 instead of 86 % of those of `fast` (`benchmarks/coarse_motions.py`)."""
XFEAT_CHANNELS = 64
PRETRAINED_CHANNELS = 40 + 3 * 80 + 3 * 112 + 2 * 192 + XFEAT_CHANNELS
INSTANCE_EPSILON = 1e-5

PyramidLevels = tuple[Tensor, Tensor, Tensor]
"""``(B, C, h, w)`` at 1/2, 1/4 and 1/8 of an image."""


def conv3x3_relu(*channels: int, strides: Iterable[int] = repeat(1)) -> list[nn.Module]:
    """Alternate 3x3 convolutions and ReLUs through the given channel counts."""
    layers: list[nn.Module] = []
    for (before, after), stride in zip(pairwise(channels), strides, strict=False):
        layers += [nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1), nn.ReLU(inplace=True)]
    return layers


class VGGPyramid(nn.Module):
    """The convolutions of VGG-16 up to conv4_3 (GLU-Net paper, section 4.1).

    The groups carry the names and layer indices of the official state dict (``level_3.4`` and so on).
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        full, quarter, eighth, sixteenth = channels
        pool = nn.MaxPool2d(kernel_size=2, stride=2)
        self.level_0 = nn.Sequential(*conv3x3_relu(3, full))
        self.level_1 = nn.Sequential(*conv3x3_relu(full, full), pool)
        self.level_2 = nn.Sequential(*conv3x3_relu(full, quarter, quarter), pool)
        self.level_3 = nn.Sequential(*conv3x3_relu(quarter, eighth, eighth, eighth), pool)
        self.level_4 = nn.Sequential(*conv3x3_relu(eighth, sixteenth, sixteenth, sixteenth), pool)

    def forward(self, image: Tensor) -> PyramidLevels:
        """Features at 1/2 (before the pool), 1/4 and 1/8 (after theirs) of a normalised ``(B, 3, H, W)``."""
        half = self.level_2[:-1](self.level_1(self.level_0(image)))
        quarter = self.level_2[-1](half)
        return half, quarter, self.level_3(quarter)


class ThinPyramid(nn.Module):
    """The levels of `VGGPyramid` above 1/16 from convolutions that reduce first: half the multiplications.

    Early layers are thin, as XFeat's (section 3.1). What reduces has an even kernel, so that it sees as far
    to either side of the centre of its cell.
    """

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        half, quarter, eighth, _ = channels
        relu, pool = nn.ReLU(inplace=True), nn.MaxPool2d(kernel_size=2, stride=2)
        self.level_1 = nn.Sequential(nn.Conv2d(3, half, kernel_size=6, stride=2, padding=2), relu)
        self.level_2 = nn.Sequential(*conv3x3_relu(half, quarter))
        self.level_2_quarter = nn.Sequential(pool, *conv3x3_relu(quarter, quarter, quarter))
        reduce = nn.Conv2d(quarter, eighth, kernel_size=4, stride=2, padding=1)
        self.level_3 = nn.Sequential(reduce, relu, *conv3x3_relu(eighth, eighth, eighth))

    def forward(self, image: Tensor) -> PyramidLevels:
        """Features at 1/2, 1/4 and 1/8, as those of `VGGPyramid`."""
        half = self.level_2(self.level_1(image))
        quarter = self.level_2_quarter(half)
        return half, quarter, self.level_3(quarter)


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0 up to its second block at 1/32, the batch norms folded into the convolutions.

    Tan and Le 2019 (the architecture), TensorFlow's EfficientNet-Lite release (no squeeze-and-excitation,
    ReLU6). The weights were trained on ImageNet and stay frozen; `tools/convert_backbones.py` makes the state
    dict from the published checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, LITE_STEM, kernel_size=3, stride=2)
        self.blocks = nn.ModuleList()
        before = LITE_STEM
        for kernel, first_stride, expansion, after, count in LITE_STAGES:
            for stride in (first_stride, *(1,) * (count - 1)):
                wide = before * expansion
                layers: OrderedDict[str, nn.Module] = OrderedDict()
                if expansion > 1:
                    layers["expand"] = nn.Conv2d(before, wide, kernel_size=1)
                    layers["expand_relu"] = nn.ReLU6(inplace=True)
                if stride > 1:
                    # TensorFlow's SAME padding: of what is odd, more goes to the right and the bottom.
                    layers["pad"] = nn.ZeroPad2d(2 * ((kernel - 2) // 2, (kernel - 1) // 2))
                padding = 0 if stride > 1 else kernel // 2
                layers["depthwise"] = nn.Conv2d(wide, wide, kernel, stride, padding, groups=wide)
                layers["relu"] = nn.ReLU6(inplace=True)
                layers["project"] = nn.Conv2d(wide, after, kernel_size=1)
                self.blocks.append(nn.Sequential(layers))
                before = after

    def forward(self, image: Tensor, wanted: Collection[int]) -> list[Tensor]:
        """The outputs of the blocks ``wanted`` (0 to 12, in ascending order).

        Args:
            image: ``(B, 3, H, W)`` RGB grey levels, 0 to 255; sides that are multiples of 32.
            wanted: blocks 3 and 4 end at 1/8 with 40 channels, 5 to 7 at 1/16 with 80, 8 to 10 at 1/16
                with 112, 11 and 12 at 1/32 with 192.
        """
        x = F.relu6(self.stem(F.pad((image - 127.0) / 128.0, (0, 1, 0, 1))))
        features = []
        for index, block in enumerate(self.blocks[: max(wanted) + 1]):
            y = block(x)
            x = x + y if x.shape == y.shape else y
            if index in wanted:
                features.append(x)
        return features


class XFeatBackbone(nn.Module):
    """The backbone of XFeat (Potje et al., CVPR 2024, section 3.1), batch norms folded into the convolutions.

    64 channels at 1/8 of the image, made for matching photographs of one scene: thin early layers, three
    scales from 1/8 to 1/32, their sum fused at 1/8. The weights stay frozen; `tools/convert_backbones.py`
    makes the state dict from the published checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skip = nn.Conv2d(1, 24, kernel_size=1)
        self.block1 = nn.Sequential(*conv3x3_relu(1, 4, 8, 8, 24, strides=(1, 2, 1, 2)))
        self.block2 = nn.Sequential(*conv3x3_relu(24, 24, 24))
        self.block3 = nn.Sequential(
            *conv3x3_relu(24, 64, 64, strides=(2, 1)), nn.Conv2d(64, 64, kernel_size=1), nn.ReLU(inplace=True)
        )
        self.block4 = nn.Sequential(*conv3x3_relu(64, 64, 64, 64, strides=(2, 1, 1)))
        self.block5 = nn.Sequential(
            *conv3x3_relu(64, 128, 128, 128, strides=(2, 1, 1)),
            nn.Conv2d(128, 64, kernel_size=1),
            nn.ReLU(inplace=True),
        )
        self.fusion = nn.Sequential(*conv3x3_relu(64, 64, 64))
        self.head = nn.Conv2d(64, XFEAT_CHANNELS, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Features ``(B, 64, H/8, W/8)`` of RGB ``(B, 3, H, W)`` in any unit, sides multiples of 32."""
        grey = image.mean(dim=1, keepdim=True)
        deviation, mean = torch.std_mean(grey, dim=(2, 3), keepdim=True, correction=0)
        grey = (grey - mean) * torch.rsqrt(deviation.square() + INSTANCE_EPSILON)
        eighth = self.block3(self.block2(self.block1(grey) + self.skip(F.avg_pool2d(grey, 4))))
        sixteenth = self.block4(eighth)
        coarser = (sixteenth, self.block5(sixteenth))
        size = (eighth.shape[2], eighth.shape[3])
        joined = sum((resize_bilinear(each, size) for each in coarser), start=eighth)
        result: Tensor = self.head(self.fusion(joined))
        return result


class PretrainedFeatures(nn.Module):
    """Unit vectors at 1/16 of two frozen networks; each part is centred over the image, and all count alike.

    EfficientNet-Lite0 knows what things are (objects of a class, another sensor), XFeat tells the places of
    one scene apart. Untrained, together, they find 78 % of the coarse matches of real pairs, the
    descriptors that are learned of them 83 %, features trained on synthetic pairs alone 73 %
    (`benchmarks/coarse_matches.py`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.efficientnet = EfficientNetLite()
        self.xfeat = XFeatBackbone()
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        """``(B, 1064, H/16, W/16)`` of a normalised image ``(B, 3, H, W)``, sides multiples of 32."""
        # In float32 whatever the autocast: the features are small, and what is centred needs the digits.
        with torch.autocast(image.device.type, enabled=False):
            mean, std = (image.new_tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
            levels = (image.float() * std + mean) * 255
            parts = [*self.efficientnet(levels, LITE_BLOCKS), self.xfeat(levels)]
            rows, columns = (side // 16 for side in image.shape[2:])
            sized = [
                F.avg_pool2d(part, 2) if part.shape[2] > rows else resize_bilinear(part, (rows, columns))
                for part in parts
            ]
            centred = [unit_vectors(part - part.mean(dim=(2, 3), keepdim=True)) for part in sized]
            return unit_vectors(torch.cat(centred, dim=1))
