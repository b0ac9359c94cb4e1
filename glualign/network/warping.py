"""Grids, warps and sizes: of feature maps, flows, and the images that the network sees."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from glualign.arrays import Array, Bytes
from glualign.network.config import COARSE_SIZE

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def pixel_grid(height: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """Coordinates ``(2, H, W)`` of the cell centres, x then y, from 0."""
    xs, ys = (torch.arange(side, device=device, dtype=torch.float32) for side in (width, height))
    return torch.stack(torch.meshgrid(xs, ys, indexing="xy"))


def warp_features(features: Tensor, flow: Tensor) -> Tensor:
    """Sample ``features`` bilinearly at ``(x + u, y + v)``; what lies outside the map counts as zero.

    Args:
        features: ``(B, C, H, W)``.
        flow: ``(B, 2, H, W)`` float32 in cells of the map. Coordinates are always computed in float32.
    """
    height, width = flow.shape[2:]
    position = pixel_grid(height, width, device=flow.device) + flow.float()
    # The official order of operations (2 x / (W - 1) - 1 under align_corners), kept for equal rounding.
    x = 2.0 * position[:, 0] / max(width - 1, 1) - 1.0
    y = 2.0 * position[:, 1] / max(height - 1, 1) - 1.0
    grid = torch.stack([x, y], dim=3)
    return F.grid_sample(
        features.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=True
    ).to(features.dtype)


def resize_bilinear(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``(B, C, h, w)`` to ``size`` (height, width) under the half-pixel convention; values stay."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def working_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which a target of that size is processed: at least 256, and multiples of 8."""
    return tuple(max(COARSE_SIZE, side // 8 * 8) for side in (height, width))  # type: ignore[return-value]


def normalise(image: Tensor) -> Tensor:
    """Grey levels 0..255 ``(B, 3, H, W)`` to ImageNet statistics."""
    statistics = torch.tensor((MEAN, STD), device=image.device, dtype=torch.float32)
    mean, std = statistics.view(2, 1, 3, 1, 1).unbind()
    return (image / 255.0 - mean) / std


def prepare(image: Bytes, size: tuple[int, int], *, truncate: bool) -> Tensor:
    """An image ``(H, W, 3)`` uint8, area-resized to ``size`` and normalised: ``(1, 3, *size)`` on the CPU.

    The means are those of PyTorch's adaptive pooling, bit for bit; with ``truncate`` they are cut to whole
    grey levels. The sums are exact, so that a mean that is whole does not fall below it.
    """
    levels: Array = image
    if image.shape[:2] != size:
        levels, counts = cv2.integral(image, sdepth=cv2.CV_64F), []
        for axis, (before, after) in enumerate(zip(image.shape, size, strict=False)):
            index = np.arange(after)
            first, end = index * before // after, -(-(index + 1) * before // after)
            levels = levels.take(end, axis) - levels.take(first, axis)
            counts.append(np.expand_dims(end - first, (1 - axis, 2)).astype(np.float32))
        rows, columns = counts
        levels = levels // (rows * columns) if truncate else levels.astype(np.float32) / rows / columns
    planes = np.ascontiguousarray(levels.transpose(2, 0, 1), np.float32)
    return normalise(torch.from_numpy(planes)[None])
