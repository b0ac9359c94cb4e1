"""The global and the local correlation, and what GLU-Net makes of them (paper sections 3.1 and 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

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
            have no negative products, transformed ones do.

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


def cell_centres(
    rows: int, columns: int, *, device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Centres of the cells of a grid in row-major order, ``(2, rows * columns)``, x then y.

    -1 is the centre of the first cell and +1 that of the last.
    """
    ys = torch.linspace(-1, 1, rows, device=device, dtype=dtype)
    xs = torch.linspace(-1, 1, columns, device=device, dtype=dtype)
    return torch.stack([xs.repeat(rows), ys.repeat_interleave(columns)])


def soft_argmax(cosines: Tensor, source_shape: tuple[int, int], scale: float) -> Tensor:
    """Expected source position of every target cell under a softmax of the global correlation.

    Args:
        cosines: ``(B, Hs * Ws, Ht, Wt)``.
        source_shape: ``(Hs, Ws)``.
        scale: inverse temperature.

    Returns:
        ``(B, 2, Ht, Wt)``, x then y; -1 is the centre of the first source cell and +1 that of the last.
    """
    cells = cell_centres(*source_shape, device=cosines.device, dtype=cosines.dtype)
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
    result: Tensor = _LocalCorrelation.apply(first, second, radius)  # type: ignore[no-untyped-call]
    return result


class _Tiling:
    """How a map is cut: tiles of ``first`` against the larger windows of ``second`` that they can reach.

    One matrix product of a tile of 8 x 8 cells with its window of 16 x 16 (radius 4) computes three times the
    products that are needed, yet is several times faster than 81 shifted element-wise products, which are
    bound by memory.
    """

    def __init__(self, shape: Sequence[int], radius: int) -> None:
        self.batch, self.channels, self.height, self.width = shape
        self.radius, self.side, self.span = radius, 2 * radius, 4 * radius
        self.grid = -(-self.height // self.side), -(-self.width // self.side)
        rows, columns = self.grid
        self.margins = rows * self.side - self.height, columns * self.side - self.width

    def tiles(self, maps: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B tiles, side^2, C)``."""
        rows, columns = self.grid
        bottom, right = self.margins
        cells = F.pad(maps.permute(0, 2, 3, 1), (0, 0, 0, right, 0, bottom))
        cut = cells.reshape(self.batch, rows, self.side, columns, self.side, -1).transpose(2, 3)
        return cut.reshape(-1, self.side**2, cells.shape[3])

    def untiled(self, tiles: Tensor) -> Tensor:
        """``(B tiles, side^2, K)`` to ``(B, K, H, W)``: the inverse of `tiles`."""
        rows, columns = self.grid
        cut = tiles.reshape(self.batch, rows, columns, self.side, self.side, -1)
        whole = cut.transpose(2, 3).reshape(self.batch, rows * self.side, columns * self.side, -1)
        return whole.permute(0, 3, 1, 2)[:, :, : self.height, : self.width]

    def windows(self, maps: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B tiles, C, span^2)``, zero outside the map."""
        bottom, right = self.margins
        r = self.radius
        cells = F.pad(maps.permute(0, 2, 3, 1), (0, 0, r, r + right, r, r + bottom))
        cut = cells.unfold(1, self.span, self.side).unfold(2, self.span, self.side)
        return cut.reshape(-1, self.channels, self.span**2)

    def unwindowed(self, windows: Tensor) -> Tensor:
        """Add overlapping ``(B tiles, C, span^2)`` up to ``(B, C, H, W)``: the adjoint of `windows`."""
        rows, columns = self.grid
        side, r = self.side, self.radius
        # A window is two tiles wide and high; each of its quadrants falls on one tile of the padded map.
        quadrants = windows.reshape(self.batch, rows, columns, self.channels, 2, side, 2, side)
        whole = windows.new_zeros(self.batch, rows + 1, side, columns + 1, side, self.channels)
        for down in range(2):
            for right in range(2):
                part = quadrants[:, :, :, :, down, :, right].permute(0, 1, 4, 2, 5, 3)
                whole[:, down : down + rows, :, right : right + columns] += part
        cells = whole.reshape(self.batch, (rows + 1) * side, (columns + 1) * side, self.channels)
        return cells[:, r : r + self.height, r : r + self.width].permute(0, 3, 1, 2)

    def band(self, products: Tensor) -> Tensor:
        """The products that are needed: ``(B tiles, side, side, window, window)``, a view."""
        side, span, window = self.side, self.span, 2 * self.radius + 1
        # Moving one cell down the tile moves one row down the window, and likewise to the right.
        strides = (side**2 * span**2, side * span**2 + span, span**2 + 1, span, 1)
        return products.as_strided((products.shape[0], side, side, window, window), strides)


class _LocalCorrelation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first: Tensor, second: Tensor, radius: int) -> Tensor:
        ctx.tiling = tiling = _Tiling(first.shape, radius)
        ctx.save_for_backward(first, second)
        products = torch.bmm(tiling.tiles(first), tiling.windows(second))
        return tiling.untiled(tiling.band(products).reshape(products.shape[0], tiling.side**2, -1))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        tiling, (first, second) = ctx.tiling, ctx.saved_tensors
        tiles = tiling.tiles(gradients[0].to(first.dtype))
        products = tiles.new_zeros(tiles.shape[0], tiling.side**2, tiling.span**2)
        band = tiling.band(products)
        band.copy_(tiles.reshape(band.shape))
        to_first = to_second = None
        if ctx.needs_input_grad[0]:
            to_first = tiling.untiled(torch.bmm(products, tiling.windows(second).transpose(1, 2)))
        if ctx.needs_input_grad[1]:
            windows = torch.bmm(tiling.tiles(first).transpose(1, 2), products)
            to_second = tiling.unwindowed(windows)
        return to_first, to_second, None
