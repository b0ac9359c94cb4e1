"""The kernel of thin-plate splines (Bookstein 1989, Principal Warps)."""

from __future__ import annotations

import numpy as np

from glualign.geometry.transforms import Points


def thin_plate_kernel(points: Points, controls: Points) -> Points:
    """``(N, K)``: r^2 log r^2 between every point and every control point; 0 where they coincide."""
    squared = np.square(points[:, :1] - controls[:, 0]) + np.square(points[:, 1:] - controls[:, 1])
    return np.asarray(squared * np.log(np.maximum(squared, 1e-300)))


def affine_basis(points: Points) -> Points:
    """``(N, 3)``: 1, x and y of every point, the part of a spline that bends nothing."""
    return np.column_stack([np.ones(len(points)), points])
