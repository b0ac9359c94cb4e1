"""What people would use instead: no alignment, key-point homographies and optical flow, all from OpenCV.

Every baseline answers for every pair. One that finds no alignment answers the identity and says why in the
note, so that all methods are averaged over the same pairs and the number of such answers is visible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import cv2
import numpy as np

from glualign.errors import DatasetError, FlowError
from glualign.evaluation.datasets.base import Pixels, Sample
from glualign.evaluation.methods import Method
from glualign.evaluation.truth import size_of
from glualign.geometry import (
    Field,
    Matrix,
    apply_transform,
    keypoint_homography,
    pixel_grid,
    resizing_matrix,
    transform_fault,
    transform_flow,
)

_ECC_SIDE = 512

_cv: Any = cv2  # the type stubs of OpenCV 4 and 5 disagree with each other and with the library


def identity(source: Pixels, target: Pixels) -> Field:
    """No alignment: the source stretched over the target's frame; zero everywhere for images of one size."""
    return transform_flow(resizing_matrix(size_of(target), size_of(source)), size_of(target))


def keypoints(detector: Literal["sift", "orb"], most: int, source: Pixels, target: Pixels) -> Field:
    """At most so many key points at full size, ratio test, homography by MAGSAC++."""
    matrix = keypoint_homography(
        source, target, detector=detector, most=most, max_side=None, threshold=3.0, fewest=8
    )
    return transform_flow(matrix, size_of(target))


def optical_flow(solve: Callable[[Any, Any], Any], source: Pixels, target: Pixels) -> Field:
    """What ``solve`` finds from the target to the source resized to its size, in pixels of the source."""
    grid = pixel_grid(size_of(target))
    to_source = resizing_matrix(size_of(target), size_of(source))
    return apply_transform(to_source, grid + solve(*_equal_grey(source, target))) - grid


def dis(target: Pixels, source: Pixels) -> Any:
    """Dense inverse search optical flow of grey images of one size, medium preset."""
    return _cv.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(target, source, None)


def farneback(target: Pixels, source: Pixels) -> Any:
    """Farneback optical flow of grey images of one size, five levels, window 21."""
    return _cv.calcOpticalFlowFarneback(target, source, None, 0.5, 5, 21, 5, 7, 1.5, 0)


def ecc(source: Pixels, target: Pixels) -> Field:
    """Homography that maximises the enhanced correlation coefficient, from the identity, at up to 512 px."""
    full = size_of(target)
    scale = min(1.0, _ECC_SIDE / max(full))
    size = max(round(full[0] * scale), 1), max(round(full[1] * scale), 1)
    grey = _equal_grey(source, target)
    small = [cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA) for image in grey]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    start = np.eye(3, dtype=np.float32)
    try:
        _, found = _cv.findTransformECC(*small, start, cv2.MOTION_HOMOGRAPHY, criteria)
    except cv2.error as error:
        raise FlowError("the correlation does not converge") from error
    matrix: Matrix = resizing_matrix(size, size_of(source)) @ found @ resizing_matrix(full, size)
    if fault := transform_fault(matrix, full):
        raise FlowError(f"the homography {fault}")
    return transform_flow(matrix, full)


BASELINES: Mapping[str, Callable[[Pixels, Pixels], Field]] = {
    "identity": identity,
    "sift": partial(keypoints, "sift", 8000),
    "orb": partial(keypoints, "orb", 5000),
    "dis": partial(optical_flow, dis),
    "farneback": partial(optical_flow, farneback),
    "ecc": ecc,
}


def open_baseline(name: str) -> Method:
    """The baseline of that name.

    Raises:
        DatasetError: there is none.
    """
    if name not in BASELINES:
        raise DatasetError(f"{name}: unknown baseline; known are {', '.join(BASELINES)}")
    return Method(name, {"opencv": cv2.__version__}, partial(_solve, BASELINES[name]))


def _solve(baseline: Callable[[Pixels, Pixels], Field], sample: Sample) -> tuple[Field, str]:
    cv2.setRNGSeed(0)  # what is random in RANSAC must not make two runs differ
    try:
        return baseline(sample.source, sample.target), ""
    except FlowError as reason:
        return identity(sample.source, sample.target), str(reason)


def _equal_grey(source: Pixels, target: Pixels) -> tuple[Any, Any]:
    """Grey target and grey source at the target's size."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (target, source)]
    return grey[0], cv2.resize(grey[1], size_of(target)[::-1], interpolation=cv2.INTER_AREA)
