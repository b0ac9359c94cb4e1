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


def turned(
    frame: Size, image: Size, *, degrees: float = 0.0, zoom: float = 1.0, mirror: bool = False
) -> Matrix:
    """Frame pixel -> image pixel: the image about its centre, turned, undistorted and of the frame's area.

    Args:
        frame: ``(height, width)`` of the frame that looks at the image.
        image: ``(height, width)`` of the image.
        degrees: by which the frame is turned against the image, clockwise on screen.
        zoom: image pixels per frame pixel, relative to equal areas.
        mirror: left and right exchanged.
    """
    scale = zoom * np.sqrt(image[0] * image[1] / (frame[0] * frame[1]))
    cos, sin = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    (fy, fx), (iy, ix) = ((np.array(size) - 1) / 2 for size in (frame, image))
    shift = np.array([ix, iy]) - turn @ np.array([fx, fy])
    return np.vstack([np.column_stack([turn, shift]), [0, 0, 1]])


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
