"""From the cells of a pass to every pixel of the target."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from glualign.geometry import Field, Matrix, apply_transform, pixel_grid
from glualign.stages.passes import Pass, PassRunner

WORST = 10.0
"""Working pixels: larger errors are not told apart."""
_STRIP = 1 << 22
"""Pixels handled at a time, so that large targets need little memory beyond the result."""


def view_transform(found: Pass, runner: PassRunner) -> Matrix:
    """Full-size target pixel -> full-size source pixel: the view in which the pass matched."""
    return np.asarray(found.transform @ runner.from_target, np.float64)


def upsampled(cells: Field, runner: PassRunner) -> Field:
    """A flow of cells in working pixels as ``(H, W, 2)`` in pixels of the target's own frame.

    Bilinear under the half-pixel convention: the published up-sampling.
    """
    height, width = runner.target_size
    scale = np.array([width / runner.working[1], height / runner.working[0]], np.float32)
    resized = cv2.resize(cells * scale, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def carried(residual: Field, view: Matrix) -> Field:
    """Flow ``(H, W, 2)`` target -> source from one within a view; overwrites ``residual``.

    Target pixel ``x`` shows source position ``view(x + residual(x))``; NaN where the view has none.
    """
    height, width = residual.shape[:2]
    step = max(1, _STRIP // width)
    for top in range(0, height, step):
        rows = residual[top : top + step]
        here = pixel_grid((rows.shape[0], width)) + np.array([0, top], np.float32)
        residual[top : top + step] = apply_transform(view, here + rows) - here
    return residual


def full_error(cells: npt.NDArray[np.float32], runner: PassRunner) -> npt.NDArray[np.float32]:
    """An error of cells in working pixels as ``(H, W)`` float32 in target pixels, at most `WORST`."""
    height, width = runner.target_size
    # Capped first: between a good cell and an infinite one the border of the valid mask would be a staircase.
    error = cv2.resize(np.minimum(cells, WORST), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(error * np.float32(max(height, width) / max(runner.working)), np.float32)
