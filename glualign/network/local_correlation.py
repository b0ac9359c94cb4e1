"""The local correlation as matrix products of tiles, the same on CPU and CUDA (paper section 3.2)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


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


class _Tiling(NamedTuple):
    """How a map is cut: tiles of ``first`` against the larger windows of ``second`` that they can reach.

    One matrix product of a tile of 8 x 8 cells with its window of 16 x 16 (radius 4) computes three times the
    products that are needed, yet is several times faster than 81 shifted element-wise products, which are
    bound by memory.
    """

    batch: int
    channels: int
    height: int
    width: int
    radius: int

    @property
    def side(self) -> int:
        return 2 * self.radius

    @property
    def span(self) -> int:
        return 2 * self.side

    @property
    def grid(self) -> tuple[int, int]:
        return -(-self.height // self.side), -(-self.width // self.side)

    @property
    def margins(self) -> tuple[int, int]:
        rows, columns = self.grid
        return rows * self.side - self.height, columns * self.side - self.width

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
        ctx.tiling = tiling = _Tiling(first.shape[0], first.shape[1], first.shape[2], first.shape[3], radius)
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
