"""3 x 3 transforms between pixel frames; numpy only.

A transform maps homogeneous pixels ``(x, y, 1)`` of one frame to those of another. Integer coordinates are
pixel centres. The torch twins of these functions, for batches of normalised affine maps inside the network,
are in `glualign.network`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
"""``(3, 3)`` float64."""
Size = tuple[int, int]
"""``(height, width)``."""

_NEAREST_DEPTH = 1e-9
"""Homogeneous depth below which a point is on the horizon or behind the camera."""


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


def apply_transform(matrix: Matrix, points: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Positions of ``points`` ``(..., 2)`` under a transform; computed in float64, returned in their type.

    NaN where a point falls on the horizon or behind the camera (homogeneous depth not positive).
    """
    x, y = points[..., 0].astype(np.float64), points[..., 1].astype(np.float64)
    u, v, depth = (row[0] * x + row[1] * y + row[2] for row in matrix)
    if not np.allclose(
        matrix[2, :2], 0
    ):  # of an affine map, the depth is the same everywhere, of either sign
        depth = np.where(depth > _NEAREST_DEPTH, depth, np.nan)
    return np.stack([u / depth, v / depth], axis=-1).astype(points.dtype)


def local_scale(matrix: Matrix, size: Size) -> float:
    """Length in the transform's image of one pixel at the centre of a frame of ``size``."""
    cx, cy = (size[1] - 1) / 2, (size[0] - 1) / 2
    points = np.array([[cx, cy], [cx + 1, cy], [cx, cy + 1]], dtype=np.float64)
    homogeneous = np.column_stack([points, np.ones(3)]) @ matrix.T
    mapped = homogeneous[:, :2] / homogeneous[:, 2:]
    area = abs(np.linalg.det(mapped[1:] - mapped[0]))
    return float(np.sqrt(area)) if np.isfinite(area) else 1.0
