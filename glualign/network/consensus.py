"""Neighbourhood consensus of a 4-D correlation, as Semantic-GLU-Net takes it from NC-Net."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Conv4d(nn.Module):
    """4-D convolution, kernel 3 and zero padding 1, over source row and column, target row and column.

    The weight is stored as the official checkpoints store it: ``(k1, out, in, k2, k3, k4)``, where k1 runs
    along the source rows.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(3, after, before, 3, 3, 3))
        self.bias = nn.Parameter(torch.zeros(after))
        nn.init.normal_(self.weight, std=(2.0 / (81 * before)) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in, h1, w1, h2, w2)`` to ``(B, out, h1, w1, h2, w2)``."""
        batch, _, rows = x.shape[:3]
        slices = F.pad(x.transpose(1, 2), (0, 0) * 4 + (1, 1)).flatten(0, 1)
        total: Tensor | None = None
        for tap in range(3):
            convolved = F.conv3d(slices, self.weight[tap], padding=1)
            part = convolved.reshape(batch, rows + 2, *convolved.shape[1:])[:, tap : tap + rows]
            total = part if total is None else total + part
        assert total is not None
        return total.transpose(1, 2) + self.bias.view(1, -1, 1, 1, 1, 1)


class NeighbourhoodConsensus(nn.Module):
    """Three 4-D convolutions, applied symmetrically to both directions of matching."""

    def __init__(self, channels: tuple[int, ...] = (1, 10, 10, 1)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [Conv4d(before, after), nn.ReLU(inplace=True)]
        self.conv = nn.Sequential(*layers)

    def forward(self, correlation: Tensor) -> Tensor:
        """Filter ``(B, hs * ws, ht, wt)``, square maps of equal size, to the same shape."""
        side = correlation.shape[2]
        x = correlation.reshape(-1, 1, *(side,) * 4)
        swapped = self.conv(x.permute(0, 1, 4, 5, 2, 3)).permute(0, 1, 4, 5, 2, 3)
        filtered: Tensor = self.conv(x) + swapped
        return filtered.reshape(correlation.shape)
