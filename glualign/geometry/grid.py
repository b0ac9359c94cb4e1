"""Pixel grids and frames: where the pixels are, and whether a position lies among them; numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from glualign.arrays import Array, Doubles, Floats, Mask
from glualign.geometry.transforms import Size

FrameEdge = Literal["centres", "areas"]
"""Where a frame ends: at the outermost pixel centres, or at the outer edges of those pixels."""

EDGE_TOLERANCE = 1e-3
"""Pixels outside the frame that still count as on it: algebra in float32 leaves errors of this size."""

_STRIP_PIXELS = 1 << 19


def pixel_grid(size: Size, *, left: int = 0, top: int = 0) -> Floats:
    """Pixel centres ``(H, W, 2)`` float32, x then y, of a frame whose first pixel is at ``(left, top)``.

    Exact up to 16,777,216 (the integers that float32 holds).
    """
    height, width = size
    out = np.empty((height, width, 2), np.float32)
    out[..., 0] = np.arange(left, left + width)
    out[..., 1] = np.arange(top, top + height)[:, None]
    return out


def positions(flow: Array, top: int = 0, left: int = 0) -> tuple[Doubles, Doubles]:
    """Source positions ``x, y`` ``(H, W)`` of a flow ``(H, W, 2)`` whose first pixel is at ``(left, top)``.

    In float64: at column 40,000 a float32 position has steps of 0.004 px.
    """
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(left, left + width, dtype=np.float64)
    y = flow[..., 1] + np.arange(top, top + height, dtype=np.float64)[:, None]
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def inside(x: Array, y: Array, size: Size, *, edge: FrameEdge = "centres") -> Mask:
    """Whether positions lie in a frame; false for NaN.

    Args:
        x: columns, any shape.
        y: rows, same shape.
        size: ``(height, width)`` of the frame.
        edge: ``centres``: ``[0, W-1] x [0, H-1]``, where values can be interpolated between pixels (flows,
            warping, valid masks), with `EDGE_TOLERANCE`. ``areas``: ``[-0.5, W-0.5] x [-0.5, H-0.5]``, the
            area that the pixels cover, for cells of a coarser grid and for images under a transform.
    """
    height, width = size
    reach = EDGE_TOLERANCE if edge == "centres" else 0.5
    horizontally = (x >= -reach) & (x <= width - 1 + reach)
    return np.asarray(horizontally & (y >= -reach) & (y <= height - 1 + reach))


def strips(size: Size) -> Iterator[tuple[int, int]]:
    """``(top, bottom)`` of strips of about half a million pixels: what float64 work on a field holds."""
    height, width = size
    step = max(1, _STRIP_PIXELS // max(1, width))
    for top in range(0, height, step):
        yield top, min(top + step, height)
