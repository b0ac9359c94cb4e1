"""What people would use instead: no alignment, key-point homographies and optical flow, all from OpenCV.

Every baseline answers for every pair. One that finds no usable solution gives up: it answers the identity and
says why in the note, so that all methods are averaged over the same pairs and the number of surrenders is
visible.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from glualign.errors import DatasetError
from glualign.evaluation.datasets.base import Pixels, Sample
from glualign.evaluation.methods import Estimate
from glualign.evaluation.mirroring import Field

Matrix = npt.NDArray[np.float64]

_RATIO = 0.8  # Lowe's ratio test
_INLIER_PX = 3.0
_MIN_INLIERS = 8
_MAX_AREA_CHANGE = 64.0
_ECC_SIDE = 512

_cv: Any = cv2  # the type stubs of OpenCV 4 and 5 disagree with each other and with the library


class GaveUp(Exception):  # noqa: N818 - it is an answer, not an error
    """A baseline found no usable alignment; the message says why."""


@dataclass(frozen=True, eq=False)
class Baseline:
    """A function from two images to a flow, timed, with the identity as its answer when it gives up."""

    name: str
    solve: Callable[[Pixels, Pixels], Field]
    settings: Mapping[str, str] = field(default_factory=lambda: {"opencv": cv2.__version__})

    def estimate(self, sample: Sample) -> Estimate:
        """The flow of ``solve``, or the identity with a note."""
        cv2.setRNGSeed(0)  # what is random in RANSAC must not make two runs differ
        note = ""
        start = time.perf_counter()
        try:
            flow = self.solve(sample.source, sample.target)
        except GaveUp as reason:
            flow, note = identity(sample.source, sample.target), str(reason)
        return Estimate(flow, time.perf_counter() - start, note)


def identity(source: Pixels, target: Pixels) -> Field:
    """No alignment: the source stretched over the target's frame; zero everywhere for images of one size."""
    return _unstretch(np.zeros((*target.shape[:2], 2), dtype=np.float32), source, target)


def sift(source: Pixels, target: Pixels) -> Field:
    """SIFT key points, ratio test, homography by MAGSAC++."""
    detector = _cv.SIFT_create(nfeatures=8000)
    return _homography_flow(*_matches(detector, cv2.NORM_L2, source, target), source, target)


def orb(source: Pixels, target: Pixels) -> Field:
    """ORB key points, ratio test, homography by MAGSAC++."""
    detector = _cv.ORB_create(nfeatures=5000)
    return _homography_flow(*_matches(detector, cv2.NORM_HAMMING, source, target), source, target)


def dis(source: Pixels, target: Pixels) -> Field:
    """Dense inverse search optical flow, medium preset, on the source resized to the target's size."""
    solver = _cv.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    first, second = _equal_grey(source, target)
    return _unstretch(np.asarray(solver.calc(first, second, None), dtype=np.float32), source, target)


def farneback(source: Pixels, target: Pixels) -> Field:
    """Farneback optical flow, five levels, window 21, on the source resized to the target's size."""
    first, second = _equal_grey(source, target)
    flow = _cv.calcOpticalFlowFarneback(first, second, None, 0.5, 5, 21, 5, 7, 1.5, 0)
    return _unstretch(np.asarray(flow, dtype=np.float32), source, target)


def ecc(source: Pixels, target: Pixels) -> Field:
    """Homography that maximises the enhanced correlation coefficient, from the identity, at up to 512 px."""
    first, second = _equal_grey(source, target)
    scale = min(1.0, _ECC_SIDE / max(first.shape))
    size = max(round(first.shape[1] * scale), 1), max(round(first.shape[0] * scale), 1)
    small = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in (first, second)]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    start = np.eye(3, dtype=np.float32)
    try:
        _, matrix = _cv.findTransformECC(small[0], small[1], start, cv2.MOTION_HOMOGRAPHY, criteria)
    except cv2.error as error:
        raise GaveUp("the correlation does not converge") from error
    full = _resampled(np.asarray(matrix, dtype=np.float64), size, (first.shape[1], first.shape[0]))
    _require_plausible(full, second, first)
    return _unstretch(_transform_flow(full, target), source, target)


BASELINES: Mapping[str, Callable[[Pixels, Pixels], Field]] = {
    "identity": identity,
    "sift": sift,
    "orb": orb,
    "dis": dis,
    "farneback": farneback,
    "ecc": ecc,
}


def open_baseline(name: str) -> Baseline:
    """The baseline of that name.

    Raises:
        DatasetError: there is none.
    """
    if name not in BASELINES:
        raise DatasetError(f"{name}: unknown baseline; known are {', '.join(BASELINES)}")
    return Baseline(name, BASELINES[name])


def _grey(image: Pixels) -> Pixels:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _equal_grey(source: Pixels, target: Pixels) -> tuple[Pixels, Pixels]:
    """Grey target and grey source at the target's size."""
    height, width = target.shape[:2]
    resized = cv2.resize(_grey(source), (width, height), interpolation=cv2.INTER_AREA)
    return _grey(target), np.asarray(resized, dtype=np.uint8)


def _unstretch(flow: Field, source: Pixels, target: Pixels) -> Field:
    """A flow into the source resized to the target's size, turned into pixels of the source itself."""
    height, width = target.shape[:2]
    if source.shape[:2] == (height, width):
        return flow
    scale = np.array([source.shape[1] / width, source.shape[0] / height])
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    return np.asarray((grid + flow + 0.5) * scale - 0.5 - grid, dtype=np.float32)


def _matches(detector: cv2.Feature2D, norm: int, source: Pixels, target: Pixels) -> tuple[Matrix, Matrix]:
    """Matched points (N, 2) in the target and in the source that pass the ratio test."""
    target_points, target_features = detector.detectAndCompute(_grey(target), None)
    source_points, source_features = detector.detectAndCompute(_grey(source), None)
    if target_features is None or source_features is None or len(source_points) < 2:
        raise GaveUp("no key points")
    nearest = cv2.BFMatcher(norm).knnMatch(target_features, source_features, k=2)
    good = [two[0] for two in nearest if len(two) == 2 and two[0].distance < _RATIO * two[1].distance]
    if len(good) < _MIN_INLIERS:
        raise GaveUp(f"{len(good)} matches")
    return (
        np.array([target_points[match.queryIdx].pt for match in good], dtype=np.float64),
        np.array([source_points[match.trainIdx].pt for match in good], dtype=np.float64),
    )


def _homography_flow(target_points: Matrix, source_points: Matrix, source: Pixels, target: Pixels) -> Field:
    matrix, inliers = _cv.findHomography(
        target_points, source_points, cv2.USAC_MAGSAC, _INLIER_PX, maxIters=10000, confidence=0.9999
    )
    count = 0 if matrix is None else int(inliers.sum())
    if matrix is None or count < _MIN_INLIERS:
        raise GaveUp(f"{count} inliers among {len(target_points)} matches")
    _require_plausible(matrix, source, target)
    return _transform_flow(np.asarray(matrix, dtype=np.float64), target)


def _require_plausible(matrix: Matrix, source: Pixels, target: Pixels) -> None:
    """Give up on a homography that folds the target or blows it up: nobody would keep such a result."""
    height, width = target.shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], dtype=np.float64)
    mapped = corners @ matrix.T
    if (mapped[:, 2] * mapped[0, 2] <= 0).any():
        raise GaveUp("the homography sends a part of the target to infinity")
    outline = (mapped[:, :2] / mapped[:, 2:]).astype(np.float32)
    if not cv2.isContourConvex(outline.reshape(-1, 1, 2)):
        raise GaveUp("the homography folds the target")
    ratio = abs(cv2.contourArea(outline)) / (source.shape[0] * source.shape[1])
    if not 1 / _MAX_AREA_CHANGE < ratio < _MAX_AREA_CHANGE:
        raise GaveUp("the homography changes the size beyond reason")


def _transform_flow(matrix: Matrix, target: Pixels) -> Field:
    """Dense flow of a 3x3 matrix that maps target to source pixels."""
    height, width = target.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    u, v, w = (row[0] * x + row[1] * y + row[2] for row in matrix)
    with np.errstate(divide="ignore", invalid="ignore"):
        flow = np.stack([u / w - x, v / w - y], axis=-1)
    return np.asarray(flow, dtype=np.float32)


def _resampled(matrix: Matrix, size: tuple[int, int], full: tuple[int, int]) -> Matrix:
    """A matrix between images of ``size`` (width, height) as one between the same images at ``full``."""
    sx, sy = full[0] / size[0], full[1] / size[1]
    # Pixel centres: x_full = (x + 0.5) * s - 0.5
    grow = np.array([[sx, 0, 0.5 * sx - 0.5], [0, sy, 0.5 * sy - 0.5], [0, 0, 1]])
    return np.asarray(grow @ matrix @ np.linalg.inv(grow), dtype=np.float64)
