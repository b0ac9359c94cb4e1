"""Coarse to fine over transforms: what one pass explains by a global motion is undone before the next."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from glualign.matcher import STRIDE
from glualign.stages.geometry import Field, Matrix, Size, apply, grid
from glualign.stages.passes import Pass, PassRunner

TRUSTED = 2.0
"""Working pixels of disagreement below which a cell votes on the global transform."""
INLIER = 3.0
"""Working pixels around the transform within which a vote supports it."""
FEWEST_VOTES = 24
MOST_VOTES = 4000
BEST_GAIN = 1.002
"""A pass replaces the best one when its score is this many times as high."""


def iterate(runner: PassRunner, first: Pass, passes: int) -> Pass:
    """Refine ``first`` by up to ``passes`` further passes, while the agreement of both directions grows."""
    best = first
    for _ in range(passes):
        transform = next_transform(best, runner.working)
        if transform is None:
            break
        candidate = runner.transformed(transform)
        if candidate.score < best.score * BEST_GAIN:
            break
        best = candidate
    return best


def next_transform(found: Pass, working: Size) -> Matrix | None:
    """The transform, working pixel -> full-size source, that a homography through the trusted cells gives.

    A homography needs support by many cells; an affine map or a similarity is tried when it has too little.
    """
    cells, matched = votes(found)
    if len(cells) < FEWEST_VOTES:
        return None
    for fit in (_homography, _affine, _similarity):
        correction = fit(cells, matched)
        if correction is not None and is_sane(correction, working):
            return np.asarray(found.transform @ correction, np.float64)
    return None


def votes(found: Pass) -> tuple[Field, Field]:
    """Working positions ``(N, 2)`` of trusted cells, and where their flow points, at most `MOST_VOTES`."""
    size: Size = found.flow.shape[:2]  # type: ignore[assignment]
    positions = (grid(size) + 0.5) * STRIDE - 0.5
    trusted = np.flatnonzero(found.error.ravel() < TRUSTED)
    step = max(1, len(trusted) // MOST_VOTES)
    chosen = trusted[::step]
    cells = positions.reshape(-1, 2)[chosen]
    return cells, cells + found.flow.reshape(-1, 2)[chosen]


def is_sane(matrix: Matrix, size: Size) -> bool:
    """Whether a frame stays a frame: no fold, no horizon inside, area between 1/50 and 50 times its own."""
    height, width = size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float32)
    mapped = apply(matrix, corners).astype(np.float64)
    if not np.isfinite(mapped).all():
        return False
    edges = np.roll(mapped, -1, axis=0) - mapped
    following = np.roll(edges, -1, axis=0)
    turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    area = abs(float(cv2.contourArea(mapped.astype(np.float32)))) / max(1, (width - 1) * (height - 1))
    return bool((turns > 0).all() or (turns < 0).all()) and 0.02 < area < 50


def _homography(cells: Field, matched: Field) -> Matrix | None:
    matrix, inliers = cv2.findHomography(
        cells, matched, cv2.USAC_MAGSAC, INLIER, maxIters=2000, confidence=0.999
    )
    return _supported(matrix, inliers, len(cells), least=0.25)


def _affine(cells: Field, matched: Field) -> Matrix | None:
    matrix, inliers = cv2.estimateAffine2D(
        cells, matched, method=cv2.RANSAC, ransacReprojThreshold=2 * INLIER
    )
    return _supported(matrix, inliers, len(cells), least=0.2)


def _similarity(cells: Field, matched: Field) -> Matrix | None:
    matrix, inliers = cv2.estimateAffinePartial2D(
        cells, matched, method=cv2.RANSAC, ransacReprojThreshold=3 * INLIER
    )
    return _supported(matrix, inliers, len(cells), least=0.15)


def _supported(
    matrix: Matrix | None, inliers: npt.NDArray[np.uint8] | None, count: int, *, least: float
) -> Matrix | None:
    if matrix is None or inliers is None or inliers.sum() < max(FEWEST_VOTES // 2, least * count):
        return None
    return np.asarray(np.vstack([matrix, [0, 0, 1]]) if matrix.shape[0] == 2 else matrix, np.float64)
