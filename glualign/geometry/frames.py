"""Pixel frames: where their pixels are, what lies inside, and 3 x 3 transforms between them; numpy only.

A transform maps homogeneous pixels ``(x, y, 1)`` of one frame to those of another. Integer coordinates are
pixel centres. The torch twins of these functions, for batches of normalised affine maps inside the network,
are in `glualign.network`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from glualign.arrays import Array, Doubles, Floats, Mask

Matrix = Doubles
"""``(3, 3)`` float64."""
Points = Doubles
"""``(N, 2)`` float64, columns x and y in pixels."""
Size = tuple[int, int]
"""``(height, width)``."""

EDGE_TOLERANCE = 1e-3
"""Pixels outside the frame that still count as on it: algebra in float32 leaves errors of this size."""

_STRIP_PIXELS = 1 << 19
SCALE_LIMIT = 50.0
"""A transform that changes lengths by more than this, up or down, shows no picture of the same thing."""

_NEAREST_DEPTH = 1e-9
"""Homogeneous depth below which a point is on the horizon or behind the camera."""


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


def inside(x: Array, y: Array, size: Size, *, edge: Literal["centres", "areas"] = "centres") -> Mask:
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


def resizing_matrix(before: Size, after: Size) -> Matrix:
    """Pixel -> pixel when an image of size ``before`` is resized to ``after``: ``(x + 0.5) s - 0.5``."""
    sy, sx = after[0] / before[0], after[1] / before[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]], dtype=np.float64)


def rotation_scale_matrix(
    frame: Size, image: Size, *, degrees: float = 0.0, scale: float = 1.0, mirror: bool = False
) -> Matrix:
    """Frame pixel -> image pixel: a rotation / scale hypothesis, both centres on each other, undistorted.

    Args:
        frame: ``(height, width)`` of the frame on which the image is drawn.
        image: ``(height, width)`` of the image.
        degrees: by which the frame is rotated against the image, clockwise on screen.
        scale: image pixels per frame pixel, relative to equal areas.
        mirror: left and right exchanged.
    """
    scale = scale * np.sqrt(image[0] * image[1] / (frame[0] * frame[1]))
    cos, sin = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    (fy, fx), (iy, ix) = ((np.array(size) - 1) / 2 for size in (frame, image))
    shift = np.array([ix, iy]) - linear @ np.array([fx, fy])
    return np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])


def apply_transform(matrix: Matrix, points: Array) -> Array:
    """Positions of ``points`` ``(..., 2)`` under a transform; computed in float64, returned in their type.

    NaN where a point falls on the horizon or behind the camera (homogeneous depth not positive).
    """
    x, y = points[..., 0].astype(np.float64), points[..., 1].astype(np.float64)
    u, v, depth = (row[0] * x + row[1] * y + row[2] for row in matrix)
    # The depth under an affine map is the same everywhere, and may have either sign.
    if not np.allclose(matrix[2, :2], 0):
        depth = np.where(depth > _NEAREST_DEPTH, depth, np.nan)
    return np.stack([u / depth, v / depth], axis=-1).astype(points.dtype)


def local_scale(matrix: Matrix, size: Size) -> float:
    """Length in the transform's image of one pixel at the centre of a frame of ``size``."""
    centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2, 1.0])
    with np.errstate(all="ignore"):
        scale = _local_scales(matrix, centre @ matrix[2])
    return float(scale) if np.isfinite(scale) else 1.0


def transform_fault(matrix: Matrix, size: Size, *, mirror: bool = True) -> str | None:
    """Why a transform shows no picture of a frame of ``size``; None when it is plausible.

    Args:
        matrix: frame -> image.
        size: ``(height, width)`` of the frame.
        mirror: whether the image may be mirrored.

    Returns:
        What it does wrong, as the end of a sentence: "is not finite", "puts the horizon inside the picture",
        "changes the scale more than 50 times" (lengths at a corner), or "mirrors the picture". Under any
        other the frame stays convex.
    """
    if not np.isfinite(matrix).all():
        return "is not finite"
    right, bottom = size[1] - 1, size[0] - 1
    corners = np.array([[0, 0, 1], [right, 0, 1], [right, bottom, 1], [0, bottom, 1]], np.float64)
    depth = corners @ matrix[2]
    if not (depth * np.sign(depth[0]) > 1e-6 * np.abs(depth).max()).all():
        return "puts the horizon inside the picture"
    scales = _local_scales(matrix, depth)
    if not ((scales >= 1 / SCALE_LIMIT) & (scales <= SCALE_LIMIT)).all():
        return f"changes the scale more than {SCALE_LIMIT:g} times"
    if not mirror and np.linalg.det(matrix) * depth[0] < 0:
        return "mirrors the picture"
    return None


def _local_scales(matrix: Matrix, depth: Doubles) -> Doubles:
    """Change of lengths at points of homogeneous ``depth``: the root of the area change det / depth^3."""
    return np.asarray(np.sqrt(np.abs(np.linalg.det(matrix) / depth**3)))
