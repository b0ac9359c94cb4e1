"""3 x 3 transforms between pixel frames; numpy only.

A transform maps homogeneous pixels ``(x, y, 1)`` of one frame to those of another. Integer coordinates are
pixel centres. The torch twins of these functions, for batches of normalised affine maps inside the network,
are in `glualign.network`.
"""

from __future__ import annotations

import numpy as np

from glualign.arrays import Array, Doubles

Matrix = Doubles
"""``(3, 3)`` float64."""
Points = Doubles
"""``(N, 2)`` float64, columns x and y in pixels."""
Size = tuple[int, int]
"""``(height, width)``."""

SCALE_LIMIT = 50.0
"""A transform that changes lengths by more than this, up or down, shows no picture of the same thing."""

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
