"""Grids, warps and sizes: of feature maps, flows, and the images that the network sees."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

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


def prepare(image: Tensor, size: tuple[int, int], *, truncate: bool) -> Tensor:
    """Area-resize ``(B, 3, H, W)`` of grey levels 0..255 to ``size`` and normalise.

    With ``truncate`` the resized levels are cut to whole ones.
    """
    levels = image.float()
    if tuple(image.shape[2:]) != size and truncate:
        # Averaged in float64: a mean that is a whole grey level must not fall below it when it is cut. On the
        # CPU, because MPS has no float64.
        averaged = F.interpolate(image.to("cpu", torch.float64), size=size, mode="area")
        levels = (averaged + 1e-9).floor().float().to(image.device)
    elif tuple(image.shape[2:]) != size:
        levels = F.interpolate(levels, size=size, mode="area")
    return normalise(levels)
