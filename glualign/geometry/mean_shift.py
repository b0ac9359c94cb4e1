"""One small motion of a frame through windows that are compared in all displacements of a few pixels."""

from __future__ import annotations

import cv2
import numpy as np

from glualign.arrays import Doubles, Matrix, Points, Size
from glualign.geometry.robust import TransformModel

SHARPNESS = 1 / 0.06
"""Inverse temperature of a score; on the pairs of `glualign.matching.global_model` 1 / 0.1 leaves 0.2 px
more, 1 / 0.03 as much."""
STEPS = 4
"""Of the mean shift at each width."""


def shift_model(
    centres: Points, scores: Doubles, model: TransformModel, size: Size, widths: tuple[float, ...]
) -> Matrix:
    """The motion of the frame that leads to high scores in all windows: a mean shift of its parameters.

    Every window, centred at ``(N, 2)``, draws it towards the mean of the displacements near its present one,
    weighted by their ``scores`` ``(N, 2 reach + 1, 2 reach + 1)`` (by y, then x, in pixels), and counts by
    how much better than usual that neighbourhood is. ``widths`` in pixels of what is near are used in turn.
    """
    reach = scores.shape[1] // 2
    offsets = np.arange(-reach, reach + 1.0)
    highest = scores.max(axis=(1, 2))
    likely = np.exp(SHARPNESS * (scores - highest[:, None, None]))
    usual = likely.mean(axis=(1, 2))
    basis = _basis(centres, model, size)
    parameters = np.zeros(basis.shape[1])
    for width in np.repeat(widths, STEPS):
        apart = offsets - (basis @ parameters).reshape(2, -1, 1)
        near_x, near_y = near = np.exp(-(apart**2) / (2 * width**2))
        by_x = (near_y[:, None] @ likely)[:, 0] * near_x
        by_y = (likely @ near_x[..., None])[..., 0] * near_y
        total = by_x.sum(axis=1) + 1e-9
        shifts = np.concatenate([by_x @ offsets / total, by_y @ offsets / total])
        better = total / (near.sum(axis=2).prod(axis=0) + 1e-9) - usual
        root = np.tile(np.clip(highest, 0, 1) * np.sqrt(np.clip(better, 0, None)), 2)
        # Where nothing decides a parameter, it stays as it was.
        held = 0.03 * np.sqrt((root**2).sum() / len(parameters)) * np.eye(len(parameters))
        system = np.concatenate([basis * root[:, None], held])
        wanted = np.concatenate([shifts * root, held @ parameters])
        parameters = np.linalg.lstsq(system, wanted, rcond=None)[0]
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64) * (size[1] - 1, size[0] - 1)
    moved = corners + (_basis(corners, model, size) @ parameters).reshape(2, -1).T
    # Of four corners: exact for each of the kinds.
    four = cv2.getPerspectiveTransform(corners.astype(np.float32), moved.astype(np.float32))
    return np.asarray(four, np.float64)


def _basis(points: Points, model: TransformModel, size: Size) -> Doubles:
    """``(2 N, P)``: by how much each parameter of a small motion moves the points in x, then in y."""
    x, y = ((points - (np.array(size[::-1]) - 1) / 2) / (max(size) / 2)).T
    one, none = np.ones_like(x), np.zeros_like(x)
    moves = [(one, none), (none, one)]
    if model == "similarity":
        moves += [(x, y), (-y, x)]
    else:
        moves += [(x, none), (y, none), (none, x), (none, y)]
    if model == "homography":
        moves += [(x * x, x * y), (x * y, y * y)]
    return np.array(moves).reshape(len(moves), -1).T
