"""One transform through many point pairs, most of which agree: MAGSAC++, RANSAC, reweighted least squares.

And the basis functions of thin-plate splines (Bookstein 1989, Principal Warps).
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Doubles
from glualign.errors import FlowError
from glualign.geometry.frames import Matrix, Points, apply_transform

TransformModel = Literal["homography", "affine", "similarity", "translation"]
MINIMAL_POINTS: dict[TransformModel, int] = {"homography": 4, "affine": 3, "similarity": 2, "translation": 1}
"""Point pairs that determine a transform of each kind."""

_HYPOTHESES = 200
_SCORED_POINTS = 2000
_REFITS = 12


def fit_points(
    target: Points,
    source: Points,
    model: TransformModel,
    *,
    threshold: float,
    generator: np.random.Generator | None = None,
) -> Matrix:
    """The transform target -> source that most pairs agree with.

    Homographies by MAGSAC++, the others by RANSAC; then least squares over all points, reweighted by Tukey's
    function of their distance.

    Args:
        target: ``(N, 2)``.
        source: ``(N, 2)``, paired with ``target``.
        model: the kind of transform.
        threshold: largest distance of an inlier, in source pixels.
        generator: of the draws; None: seeded with 0.

    Returns:
        3x3 float64 with ``matrix[2, 2] == 1``.

    Raises:
        FlowError: an unknown kind, too few points, or points that determine no transform of that kind.
    """
    if model not in MINIMAL_POINTS:
        raise FlowError(f"transform {model!r} is not one of {', '.join(MINIMAL_POINTS)}")
    if len(target) < MINIMAL_POINTS[model]:
        raise FlowError(f"a {model} needs {MINIMAL_POINTS[model]} points, got {len(target)}")
    if model == "homography":
        matrix, _ = magsac_homography(target, source, threshold)
    else:
        matrix = _ransac(model, target, source, threshold, generator or np.random.default_rng(0))
    for _ in range(_REFITS):
        if matrix is None:
            break
        distance = transfer_errors(matrix, target, source) / (2 * threshold)
        refined = _least_squares(model, target, source, np.square(np.maximum(1 - np.square(distance), 0)))
        if refined is None:
            break
        matrix = refined
    if matrix is None or not np.isfinite(matrix).all() or abs(matrix[2, 2]) < 1e-12:
        raise FlowError(f"no {model} fits the points")
    return np.asarray(matrix / matrix[2, 2], np.float64)


def magsac_homography(
    target: npt.NDArray[np.floating], source: npt.NDArray[np.floating], threshold: float
) -> tuple[Matrix | None, int]:
    """OpenCV's MAGSAC++ homography target -> source and its number of inliers; None without one."""
    try:
        matrix, inliers = cv2.findHomography(
            target, source, cv2.USAC_MAGSAC, threshold, maxIters=10_000, confidence=0.9999
        )
    except cv2.error:
        return None, 0
    if matrix is None or inliers is None:
        return None, 0
    return np.asarray(matrix, np.float64), int(inliers.sum())


def transfer_errors(matrix: Matrix, target: Points, source: Points) -> Doubles:
    """``(N,)`` distances in source pixels from where a transform puts target points; infinite if nowhere."""
    front = matrix if matrix[2, 2] >= 0 else -matrix
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.hypot(*(apply_transform(front, target) - source).T)
    return np.asarray(np.nan_to_num(distance, nan=np.inf))


def _ransac(
    model: TransformModel, target: Points, source: Points, threshold: float, generator: np.random.Generator
) -> Matrix | None:
    if model == "translation":
        offset = (source - target)[generator.permutation(len(target))[:_SCORED_POINTS]]
        squared = np.square(offset[:, None] - offset[:_HYPOTHESES]).sum(axis=2)
        # MSAC: inliers cost their squared distance, outliers the same for all.
        matrix = np.eye(3)
        matrix[:2, 2] = offset[np.minimum(squared, threshold**2).sum(axis=0).argmin()]
        return matrix
    fit = cv2.estimateAffine2D if model == "affine" else cv2.estimateAffinePartial2D
    # OpenCV 4.8 takes no columns of a wider table.
    points = np.ascontiguousarray(target), np.ascontiguousarray(source)
    linear, _ = fit(*points, method=cv2.RANSAC, ransacReprojThreshold=threshold)
    return None if linear is None else np.vstack([linear, [0.0, 0.0, 1.0]])


def _least_squares(model: TransformModel, target: Points, source: Points, weight: Doubles) -> Matrix | None:
    """The weighted least-squares transform, or None where the points do not determine it."""
    if weight.sum() <= 0:
        return None
    share = weight / weight.sum()
    centre_p, centre_q = share @ target, share @ source
    p, q = target - centre_p, source - centre_q
    moments, products = (p * share[:, None]).T @ p, (p * share[:, None]).T @ q
    spread = float(np.trace(moments))
    centred = np.eye(3)
    if model != "translation" and spread < 1e-12:
        return None
    if model == "similarity":  # as complex numbers: q = (a + ib) p
        a, b = np.trace(products) / spread, (products[0, 1] - products[1, 0]) / spread
        centred[:2, :2] = [[a, -b], [b, a]]
    elif model == "affine":
        if np.linalg.det(moments) < 1e-9 * spread**2:
            return None
        centred[:2, :2] = np.linalg.solve(moments, products).T
    elif model == "homography":  # direct linear transform, section 4.4 of Hartley and Zisserman
        to_p, to_q = np.sqrt([spread, share @ np.square(q).sum(axis=1)])
        if min(to_p, to_q) < 1e-6:
            return None
        homogeneous, none = np.column_stack([p / to_p, np.ones(len(p))]), np.zeros((len(p), 3))
        rows = [
            np.column_stack([homogeneous, none, -q[:, :1] / to_q * homogeneous]),
            np.column_stack([none, homogeneous, -q[:, 1:] / to_q * homogeneous]),
        ]
        system = sum((row * share[:, None]).T @ row for row in rows)
        solution = np.linalg.eigh(system)[1][:, 0].reshape(3, 3)
        centred = np.diag([to_q, to_q, 1]) @ solution @ np.diag([1 / to_p, 1 / to_p, 1])
    before, after = np.eye(3), np.eye(3)
    before[:2, 2], after[:2, 2] = -centre_p, centre_q
    return np.asarray(after @ centred @ before)


def thin_plate_kernel(points: Points, controls: Points) -> Points:
    """``(N, K)``: r^2 log r^2 between every point and every control point; 0 where they coincide."""
    squared = np.square(points[:, :1] - controls[:, 0]) + np.square(points[:, 1:] - controls[:, 1])
    return np.asarray(squared * np.log(np.maximum(squared, 1e-300)))


def affine_basis(points: Points) -> Points:
    """``(N, 3)``: 1, x and y of every point, the part of a spline that bends nothing."""
    return np.column_stack([np.ones(len(points)), points])
