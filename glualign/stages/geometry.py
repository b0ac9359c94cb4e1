"""3 x 3 transforms between pixel frames, and fields of positions under them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Field = npt.NDArray[np.float32]
Size = tuple[int, int]
"""``(height, width)``."""


def resizing(before: Size, after: Size) -> Matrix:
    """The transform of pixel centres when an image of size ``before`` is resized to ``after``."""
    sy, sx = after[0] / before[0], after[1] / before[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]], dtype=np.float64)


def about_centre(size: Size, *, degrees: float = 0.0, zoom: float = 1.0, mirror: bool = False) -> Matrix:
    """Rotate by ``degrees`` (clockwise on screen), zoom and optionally mirror a frame about its centre."""
    angle = np.deg2rad(degrees)
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    cx, cy = (size[1] - 1) / 2, (size[0] - 1) / 2
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag([-1.0 if mirror else 1.0, 1.0, 1.0])
    to_centre = np.array([[1, 0, -cx], [0, 1, -cy], [0, 0, 1]])
    return np.asarray(np.linalg.inv(to_centre) @ turn @ to_centre, dtype=np.float64)


def grid(size: Size) -> Field:
    """Pixel centres ``(H, W, 2)``, x then y."""
    height, width = size
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.stack([xs, ys], axis=2)


def apply(matrix: Matrix, points: Field) -> Field:
    """Positions ``(..., 2)`` under a transform; float32, NaN where a point falls behind the camera."""
    m = matrix.astype(np.float64)
    x, y = points[..., 0], points[..., 1]
    if np.allclose(m[2, :2], 0):
        m = m / m[2, 2]
        mapped = [m[row, 0] * x + m[row, 1] * y + m[row, 2] for row in range(2)]
    else:
        depth = m[2, 0] * x + m[2, 1] * y + m[2, 2]
        depth = np.where(depth > 1e-9, depth, np.nan)
        mapped = [(m[row, 0] * x + m[row, 1] * y + m[row, 2]) / depth for row in range(2)]
    return np.stack(mapped, axis=-1).astype(np.float32)


def local_scale(matrix: Matrix, size: Size) -> float:
    """Length in the transform's image of one pixel at the centre of a frame."""
    cx, cy = (size[1] - 1) / 2, (size[0] - 1) / 2
    points = np.array([[cx, cy], [cx + 1, cy], [cx, cy + 1]], dtype=np.float64)
    homogeneous = np.column_stack([points, np.ones(3)]) @ matrix.T
    mapped = homogeneous[:, :2] / homogeneous[:, 2:]
    area = abs(np.linalg.det(mapped[1:] - mapped[0]))
    return float(np.sqrt(area)) if np.isfinite(area) else 1.0
