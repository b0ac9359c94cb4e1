"""A Lucas-Kanade step on the features at 1/2 of the working size (our addition).

At 1/4 the network measures motion to some hundredths of a cell. The least-squares step of Lucas and Kanade
(1981), taken on learned features of a finer grid (Lv et al. 2019), measures fractions of a pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RADIUS = 2
"""Of the local correlation at 1/2, and at 1/4 before it, in cells: what is left to find there is small."""
WINDOWS = (4, 2)
"""Of the windows over which the motion is taken as constant: their weights fall linearly to zero over
2 r + 1 cells to each side, of these r. The first step is added."""
STEP_CHANNELS = 2 * len(WINDOWS) + 1
"""Channels of all maps of `lucas_kanade_steps` together."""
DAMPING = 0.1
"""Share of the image's mean structure tensor added to every cell's: untextured surfaces do not move."""
OUTLIER = 0.3
"""Distance of two unit vectors at which a cell's weight is a half (occlusions and the like)."""


def lucas_kanade_steps(warped: Tensor, target: Tensor) -> tuple[Tensor, ...]:
    """The step d that makes ``warped(x + d)`` most like ``target(x)``, by least squares over each window.

    Args:
        warped: unit vectors ``(B, C, H, W)`` of the source, sampled where the flow points.
        target: unit vectors of the target.

    Returns:
        For every window the step ``(B, 2, H, W)`` in cells, at most one in x and in y, to be added to the
        flow; then the feature residual ``(B, 1, H, W)``, the squared distance of the two features of a cell.
    """
    with torch.autocast(warped.device.type, enabled=False):
        warped, target = warped.float().contiguous(), target.float().contiguous()
        sums = [warped.new_zeros(())] * 6
        # One channel after the other: one fits the cache of a processor.
        for channel, goal in zip(torch.split(warped, 1, dim=1), torch.split(target, 1, dim=1), strict=True):
            padded = F.pad(channel, (1, 1, 1, 1), mode="replicate")
            dx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
            dy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
            error = goal - channel
            pairs = ((dx, dx), (dx, dy), (dy, dy), (dx, error), (dy, error), (error, error))
            sums = [torch.addcmul(total, a, b) for total, (a, b) in zip(sums, pairs, strict=True)]
        *products, residual = sums
        weighted = torch.cat(products, dim=1) / (1 + residual / OUTLIER**2)
        steps = []
        for radius in WINDOWS:
            # The damped 2 x 2 normal equations.
            xx, xy, yy, x, y = _window_means(weighted, radius).chunk(5, dim=1)
            damping = DAMPING * (xx + yy).mean(dim=(1, 2, 3), keepdim=True) / 2 + 1e-8
            xx, yy = xx + damping, yy + damping
            step = torch.cat([yy * x - xy * y, xx * y - xy * x], dim=1) / (xx * yy - xy * xy)
            steps.append(step.clamp(-1, 1))
        return *steps, residual


def _window_means(maps: Tensor, radius: int) -> Tensor:
    """Means over a window with linearly falling weights; at the frame's edge, over the part inside."""
    offsets = torch.arange(-2 * radius, 2 * radius + 1, device=maps.device, dtype=maps.dtype)
    ramp = 1 - offsets.abs() / (2 * radius + 1)
    channels = maps.shape[1]
    for axis, shape in ((3, (1, 1, 1, -1)), (2, (1, 1, -1, 1))):
        kernel = ramp.view(shape)
        padding = (kernel.shape[2] // 2, kernel.shape[3] // 2)
        ones = torch.ones(1, 1, maps.shape[axis], device=maps.device, dtype=maps.dtype)
        present = F.conv1d(ones, ramp.view(1, 1, -1), padding=2 * radius).view(shape)
        maps = F.conv2d(maps, kernel.expand(channels, -1, -1, -1), padding=padding, groups=channels) / present
    return maps
