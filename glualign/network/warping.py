"""Moving feature maps along a flow, and changing the size of maps and flows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def pixel_grid(height: int, width: int, *, device: torch.device | None = None) -> Tensor:
    """Coordinates ``(2, H, W)`` of the cell centres, x then y, from 0."""
    ys = torch.arange(height, device=device, dtype=torch.float32)
    xs = torch.arange(width, device=device, dtype=torch.float32)
    return torch.stack([xs.expand(height, width), ys[:, None].expand(height, width)])


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


def resize_area(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize ``(B, C, h, w)`` to ``size`` (height, width) by averaging the cells that a new cell covers."""
    return F.interpolate(maps, size=size, mode="area")
