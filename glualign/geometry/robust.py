"""One transform through many point pairs, most of which agree: given pairs, or key points of two images."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Bytes, Doubles, Matrix, Points
from glualign.errors import FlowError
from glualign.geometry import apply_transform, size_of, transform_fault

TransformModel = Literal["homography", "affine", "similarity", "translation"]
MINIMAL_POINTS: dict[TransformModel, int] = {"homography": 4, "affine": 3, "similarity": 2, "translation": 1}
"""Point pairs that determine a transform of each kind."""
# What each kind changes of the first numbers of the unit matrix, row by row.
_FREE: dict[TransformModel, Doubles] = {
    "homography": np.eye(8),
    "affine": np.eye(6),
    "similarity": np.array([[1, 0, 0, 0, 1, 0], [0, -1, 0, 1, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1]]),
    "translation": np.eye(6)[[2, 5]],
}
_HYPOTHESES = 200
_SCORED_POINTS = 2000
_REFITS = 12
_SETTLED = 1e-3
RATIO = 0.8
"""Lowe's ratio test: a match must be this much closer than the second best (Lowe 2004, section 7.1)."""

_cv: Any = cv2  # the type stubs of OpenCV 4 and 5 disagree with each other and with the library


def fit_points(target: Points, source: Points, model: TransformModel, *, threshold: float) -> Matrix:
    """The transform target -> source that most pairs agree with.

    Homographies by MAGSAC++, the others by RANSAC; then least squares over all points, reweighted by Tukey's
    function of their distance. An inlier is at most ``threshold`` source pixels off. ``matrix[2, 2] == 1``.

    Raises:
        FlowError: an unknown kind, too few points, or points that determine no transform of that kind.
    """
    if model not in MINIMAL_POINTS:
        raise FlowError(f"transform {model!r} is not one of {', '.join(MINIMAL_POINTS)}")
    if len(target) < MINIMAL_POINTS[model]:
        raise FlowError(
            f"{len(target)} points do not determine the {model}, which needs {MINIMAL_POINTS[model]}"
        )
    # OpenCV 4.8 takes no columns of a wider table.
    target, source = np.ascontiguousarray(target), np.ascontiguousarray(source)
    matrix: Matrix | None
    if model == "homography":
        matrix, inliers = magsac_homography(target, source, threshold)
        if 2 * inliers < len(target):  # OpenCV's samples hold no reflection
            mirrored, more = magsac_homography(target, source * [-1.0, 1.0], threshold)
            if mirrored is not None and 2 * more >= len(target):
                matrix = np.diag([-1.0, 1.0, 1.0]) @ mirrored
    elif model == "translation":
        offset = np.random.default_rng(0).permutation(source - target)[:_SCORED_POINTS]
        squared = np.square(offset[:, None] - offset[:_HYPOTHESES]).sum(axis=2)
        # MSAC: inliers cost their squared distance, outliers the same for all.
        matrix = np.eye(3)
        matrix[:2, 2] = offset[np.minimum(squared, threshold**2).sum(axis=0).argmin()]
    else:
        fit = cv2.estimateAffine2D if model == "affine" else cv2.estimateAffinePartial2D
        linear, _ = fit(target, source, method=cv2.RANSAC, ransacReprojThreshold=threshold)
        matrix = None if linear is None else np.vstack([linear, [0.0, 0.0, 1.0]])
    before: Doubles = np.full(len(target), np.inf)
    for _ in range(_REFITS):
        if matrix is None:
            break
        distance = np.minimum(transfer_errors(matrix, target, source) / (2 * threshold), 1)
        if np.abs(distance - before).mean() < _SETTLED:
            break
        before = distance
        refined = _least_squares(model, target, source, np.square(1 - np.square(distance)))
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


def keypoint_homography(
    source: Bytes,
    target: Bytes,
    *,
    detector: Literal["sift", "orb"] = "sift",
    most: int = 4000,  # key points per image
    threshold: float = 2.0,  # largest distance of an inlier, in pixels of the source
    fewest: int = 12,  # key points of an image, matches, and inliers among them, that are needed
) -> Matrix:
    """Homography, target pixel -> source pixel, of two images ``(H, W, 3)`` uint8 RGB, through key points.

    SIFT with RootSIFT descriptors (Arandjelovic and Zisserman 2012), or ORB; ratio test; MAGSAC++.

    Raises:
        FlowError: too few points agree, or on nothing plausible; the message says which.
    """
    finder = (_cv.SIFT_create if detector == "sift" else _cv.ORB_create)(nfeatures=most)
    places, described = [], []
    for image in (source, target):
        found, descriptors = finder.detectAndCompute(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), None)
        if len(found) < fewest:
            raise FlowError(f"{len(found)} key points")
        if detector == "sift":
            descriptors = np.sqrt(descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6))
        places.append(np.array([point.pt for point in found], np.float32))
        described.append(descriptors)
    matcher = cv2.BFMatcher(cv2.NORM_L2 if detector == "sift" else cv2.NORM_HAMMING)
    nearest = matcher.knnMatch(described[1], described[0], k=2)
    good = [pair[0] for pair in nearest if len(pair) == 2 and pair[0].distance < RATIO * pair[1].distance]
    if len(good) < fewest:
        raise FlowError(f"{len(good)} matches")
    matched = places[1][[match.queryIdx for match in good]], places[0][[match.trainIdx for match in good]]
    matrix, inliers = magsac_homography(*matched, threshold)
    if matrix is None or inliers < fewest:
        raise FlowError(f"{inliers} inliers among {len(good)} matches")
    # The appearance of a key point is not that of its mirror image.
    fault = transform_fault(matrix, size_of(target), mirror=False)
    if fault:
        raise FlowError(f"the homography {fault}")
    return matrix


def transfer_errors(matrix: Matrix, target: Points, source: Points) -> Doubles:
    """``(N,)`` distances in source pixels from where a transform puts target points; infinite if nowhere."""
    front = matrix if matrix[2, 2] >= 0 else -matrix
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.hypot(*(apply_transform(front, target) - source).T)
    return np.asarray(np.nan_to_num(distance, nan=np.inf))


def _least_squares(model: TransformModel, target: Points, source: Points, weight: Doubles) -> Matrix | None:
    """The weighted least-squares transform, or None where the points do not determine it.

    Of a homography the algebraic error counts (Hartley and Zisserman, section 4.1.2), in centred coordinates.
    """
    target, source, weight = target[weight > 0], source[weight > 0], weight[weight > 0]
    if not len(weight):
        return None
    share = weight / weight.sum()
    centre_p, centre_q = share @ target, share @ source
    unit = max(1e-6, float(np.sqrt(share @ np.square(target - centre_p).sum(axis=1))))
    p, q = (target - centre_p).T / unit, (source - centre_q).T / unit
    free = _FREE[model]
    design = np.zeros((free.shape[1], 2, len(share)))  # by number of the matrix, for u and v of every point
    design[:2, 0] = design[3:5, 1] = p
    design[2, 0] = design[5, 1] = 1
    if model == "homography":
        design[6:] = -q * p[:, None]
    basis = free @ design.reshape(len(design), -1)
    weighted = basis * np.tile(share, 2)
    normal = weighted @ basis.T
    if np.linalg.cond(normal) > 1e10:
        return None
    before, fitted, after = np.eye(3), np.eye(3), np.eye(3)
    before[:, 2] = *-centre_p, unit
    fitted.flat[: len(design)] += np.linalg.solve(normal, weighted @ (q - p).ravel()) @ free
    after[:2] = np.column_stack([unit * np.eye(2), centre_q])
    return np.asarray(after @ fitted @ before)
