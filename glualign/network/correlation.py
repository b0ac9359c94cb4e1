"""The global and the local correlation, and what GLU-Net makes of them (paper sections 3.1 and 3.2)."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glualign.network.warping import pixel_grid

L2_EPSILON = 1e-6
MUTUAL_EPSILON = 1e-5


def unit_vectors(features: Tensor) -> Tensor:
    """Divide by the Euclidean norm over channels; epsilon sits inside the root, so zero vectors stay zero."""
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + L2_EPSILON)


def global_correlation(source: Tensor, target: Tensor) -> Tensor:
    """Inner product of every source cell with every target cell.

    Args:
        source: ``(B, C, Hs, Ws)``.
        target: ``(B, C, Ht, Wt)``.

    Returns:
        ``(B, Hs * Ws, Ht, Wt)``: the channel is the source cell in row-major order, the position the target
        cell (paper section 3.1).
    """
    products = torch.bmm(source.flatten(2).transpose(1, 2), target.flatten(2))
    return products.reshape(*products.shape[:2], *target.shape[2:])


def mutual_matching(correlation: Tensor) -> Tensor:
    """Damp matches that are not each other's best (soft mutual nearest neighbours, from NC-Net).

    Args:
        correlation: ``(B, S, Ht, Wt)`` with source cells as channels. What is negative counts as zero, or the
            best of a cell that matches nothing would be a divisor near zero or below. Features after a ReLU
            have no negative products, centred ones (`PretrainedFeatures`) do.

    Returns:
        The same shape, 0 to the largest correlation.
    """
    correlation = correlation.clamp_min(0)
    best_of_source = correlation.amax(dim=(2, 3), keepdim=True)
    best_of_target = correlation.amax(dim=1, keepdim=True)
    ratio = (correlation / (best_of_source + MUTUAL_EPSILON)) * (
        correlation / (best_of_target + MUTUAL_EPSILON)
    )
    return correlation * ratio


def soft_argmax(cosines: Tensor, source_shape: tuple[int, int], scale: float) -> Tensor:
    """Expected source position of every target cell under a softmax of the global correlation.

    Args:
        cosines: ``(B, Hs * Ws, Ht, Wt)``.
        source_shape: ``(Hs, Ws)``.
        scale: inverse temperature.

    Returns:
        ``(B, 2, Ht, Wt)``, x then y; -1 is the centre of the first source cell and +1 that of the last.
    """
    last = cosines.new_tensor(source_shape[::-1]).view(2, 1) - 1
    cells = pixel_grid(*source_shape, device=cosines.device).flatten(1).to(cosines.dtype) * 2 / last - 1
    probability = torch.softmax(scale * cosines.flatten(2), dim=1)
    return (cells @ probability).reshape(-1, 2, *cosines.shape[2:])


def mutual_match_features(
    cosines: Tensor, source_shape: tuple[int, int], scale: float, radius: int = 2
) -> Tensor:
    """The mutual best match of every target cell in the global correlation, and its similarity.

    Args:
        cosines: ``(B, Hs * Ws, Ht, Wt)``.
        source_shape: ``(Hs, Ws)``.
        scale: inverse temperature of the soft-argmax within the window.
        radius: of the window around the mutual best source cell, in cells.

    Returns:
        ``(B, 4, Ht, Wt)``: position of the soft-argmax within that window (x, y in [-1, 1]), the cosine of
        the best cell, and that cosine after mutual matching (low where the match is not mutual).
    """
    rows, columns = source_shape
    flat = cosines.flatten(2)
    confidence, best = mutual_matching(cosines).flatten(2).max(dim=1, keepdim=True)
    index = torch.arange(rows * columns, device=cosines.device).view(1, -1, 1)
    across = (index % columns - best % columns).abs() <= radius
    down = (index // columns - best // columns).abs() <= radius
    windowed = flat.masked_fill(~(across & down), -torch.inf)
    position = soft_argmax(windowed.view_as(cosines), source_shape, scale)
    peak = torch.cat([flat.gather(1, best), confidence], dim=1)
    return torch.cat([position, peak.view(-1, 2, *cosines.shape[2:])], dim=1)


def local_correlation(first: Tensor, second: Tensor, radius: int) -> Tensor:
    """Inner products of each cell of ``first`` with the cells of ``second`` in a square window around it.

    Args:
        first: ``(B, C, H, W)``.
        second: ``(B, C, H, W)``; zero outside its bounds.
        radius: of the window, in cells.

    Returns:
        ``(B, (2 radius + 1)^2, H, W)``; channel ``(2 radius + 1) (dy + radius) + (dx + radius)`` holds the
        products with ``second[y + dy, x + dx]``.
    """
    if torch.is_autocast_enabled(first.device.type):
        dtype = torch.get_autocast_dtype(first.device.type)
        first, second = first.to(dtype), second.to(dtype)
    # Tiles of ``first`` against the larger windows of ``second`` that they can reach. One matrix product of a
    # tile of 8 x 8 cells with its window of 16 x 16 (radius 4) makes three times the products needed, but 81
    # shifted element-wise products are bound by memory: on a CPU they take up to three times as long, ten
    # times with the backward pass.
    batch, channels, height, width = first.shape
    side, span, window = 2 * radius, 4 * radius, 2 * radius + 1
    rows, columns = -(-height // side), -(-width // side)
    below, right = rows * side - height, columns * side - width
    tiles = F.pad(first.permute(0, 2, 3, 1), (0, 0, 0, right, 0, below))
    tiles = tiles.reshape(batch, rows, side, columns, side, channels).transpose(2, 3)
    padding = (0, 0, radius, radius + right, radius, radius + below)
    windows = F.pad(second.permute(0, 2, 3, 1), padding).unfold(1, span, side).unfold(2, span, side)
    # Copied with the channels last, as they lie in memory: a third faster than cell by cell.
    copied = windows.movedim(3, 5).reshape(-1, span**2, channels).transpose(1, 2)
    products = torch.bmm(tiles.reshape(-1, side**2, channels), copied)
    del copied  # as large as the products
    # Those that are needed: one cell down the tile is one row down the window, and likewise to the right.
    strides = (side**2 * span**2, side * span**2 + span, span**2 + 1, span, 1)
    needed = products.as_strided((len(products), side, side, window, window), strides)
    cells = needed.reshape(batch, rows, columns, side, side, window**2).transpose(2, 3)
    whole = cells.reshape(batch, rows * side, columns * side, window**2).permute(0, 3, 1, 2)
    return whole[:, :, :height, :width]


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
        taps = [F.conv3d(slices, weight, padding=1) for weight in self.weight]
        first, second, third = (tap.view(batch, rows + 2, *tap.shape[1:]) for tap in taps)
        total = first[:, :rows] + second[:, 1 : rows + 1] + third[:, 2:]
        return total.transpose(1, 2) + self.bias.view(1, -1, 1, 1, 1, 1)


class NeighbourhoodConsensus(nn.Module):
    """Three 4-D convolutions, applied to both directions of matching (Semantic-GLU-Net, from NC-Net)."""

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
