"""One more level, at 1/2 of the working size, for the last tenths of a pixel (this project's addition).

At 1/4 the network measures motion to some hundredths of a cell. A finer grid makes the cells smaller, and the
least-squares step of Lucas and Kanade (1981), taken on learned features, needs no search to be exact.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glualign.network.decoders import conv_bn, leaky_relu

REACH = 2
"""Radius of the local correlation at 1/2, in cells: all that is left to find is the error at 1/4."""
WINDOWS = (4, 2)
"""Radii, in cells, of the windows over which the motion is taken as constant; the first is trusted."""
DAMPING = 0.1
"""Share of the image's mean structure added to every cell's, so that a plain surface stays where it is."""
OUTLIER = 0.3
"""Distance of two unit vectors at which a cell counts half: it shows another thing, not a small motion."""


class HalfFeatures(nn.Module):
    """Joins the pixels with the pyramid's features at 1/2."""

    def __init__(self, before: int, channels: int) -> None:
        super().__init__()
        # The four pixels of a cell as they are: max-pooling forgets which of them answered.
        pixels = 3 * 2 * 2
        self.embed = conv_bn(pixels + before, channels, leaky_relu())
        # Its norm centres the features: what all cells have in common would make all cosines alike.
        self.project = conv_bn(channels, channels)

    def forward(self, image: Tensor, half: Tensor) -> Tensor:
        """Features ``(B, C, H/2, W/2)`` of an image ``(B, 3, H, W)`` and its features at 1/2."""
        result: Tensor = self.project(self.embed(torch.cat([F.pixel_unshuffle(image, 2), half], dim=1)))
        return result


class LucasKanadeStep(NamedTuple):
    """What a least-squares step says about every cell."""

    steps: tuple[Tensor, ...]
    """``(B, 2, H, W)`` for every window, in cells, at most one in x and in y: what to add to the flow."""
    residual: Tensor
    """``(B, 1, H, W)``, squared distance of the two features of a cell."""

    @classmethod
    def channels(cls) -> int:
        """Of all maps together."""
        return 2 * len(WINDOWS) + 1


def lucas_kanade_step(warped: Tensor, target: Tensor) -> LucasKanadeStep:
    """The step d that makes ``warped(x + d)`` most like ``target(x)`` over each window.

    Args:
        warped: unit vectors ``(B, C, H, W)`` of the source, sampled where the flow points.
        target: unit vectors of the target.
    """
    with torch.autocast(warped.device.type, enabled=False):
        # In one memory layout: products of two are twice as slow.
        warped, target = warped.float().contiguous(), target.float().contiguous()
        padded = F.pad(warped, (1, 1, 1, 1), mode="replicate")
        along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
        along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
        error = target - warped
        residual = error.square().sum(dim=1, keepdim=True)
        products = torch.cat(
            [
                (a * b).sum(dim=1, keepdim=True)
                for a, b in (
                    (along_x, along_x),
                    (along_x, along_y),
                    (along_y, along_y),
                    (along_x, error),
                    (along_y, error),
                )
            ],
            dim=1,
        ) / (1 + residual / OUTLIER**2)
        return LucasKanadeStep(tuple(_solved(_blurred(products, radius)) for radius in WINDOWS), residual)


def _solved(sums: Tensor) -> Tensor:
    xx, xy, yy, x, y = sums.chunk(5, dim=1)
    damping = DAMPING * (xx + yy).mean(dim=(1, 2, 3), keepdim=True) / 2 + 1e-8
    xx, yy = xx + damping, yy + damping
    step = torch.cat([yy * x - xy * y, xx * y - xy * x], dim=1) / (xx * yy - xy * xy)
    return step.clamp(-1, 1)


def _blurred(maps: Tensor, radius: int) -> Tensor:
    """Means over a window that falls off linearly; at the frame's edge, over what there is of it."""
    ramp = 1 - torch.arange(-2 * radius, 2 * radius + 1, device=maps.device).abs() / (2 * radius + 1)
    channels = maps.shape[1]
    for axis, shape in ((3, (1, 1, 1, -1)), (2, (1, 1, -1, 1))):
        kernel = ramp.view(shape)
        padding = (kernel.shape[2] // 2, kernel.shape[3] // 2)
        inside = torch.ones(1, 1, maps.shape[axis], device=maps.device)
        present = F.conv1d(inside, ramp.view(1, 1, -1), padding=2 * radius).view(shape)
        maps = F.conv2d(maps, kernel.expand(channels, -1, -1, -1), padding=padding, groups=channels) / present
    return maps
