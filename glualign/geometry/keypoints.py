"""A homography between two images from key points: SIFT (or ORB), ratio test, MAGSAC++."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np

from glualign.arrays import Array, Bytes, Floats
from glualign.errors import FlowError
from glualign.geometry.frames import Matrix, resizing_matrix, transform_fault
from glualign.geometry.robust import magsac_homography

RATIO = 0.8
"""Lowe's ratio test: a match must be this much closer than the second best (Lowe 2004, section 7.1)."""

Pixels = Bytes
_cv: Any = cv2  # the type stubs of OpenCV 4 and 5 disagree with each other and with the library


def keypoint_transform(source: Pixels, target: Pixels) -> Matrix | None:
    """The homography of `keypoint_homography` with settings for a hypothesis; None where there is none."""
    try:
        return keypoint_homography(source, target)
    except FlowError:
        return None


def keypoint_homography(
    source: Pixels,
    target: Pixels,
    *,
    detector: Literal["sift", "orb"] = "sift",
    most: int = 4000,
    max_side: int | None = 1200,
    threshold: float = 2.0,
    fewest: int = 12,
) -> Matrix:
    """Homography, target pixel -> source pixel, through key points of like appearance.

    Args:
        source: ``(H, W, 3)`` uint8 RGB.
        target: ``(H, W, 3)`` uint8 RGB.
        detector: SIFT with RootSIFT descriptors (Arandjelovic and Zisserman 2012), or ORB.
        most: key points per image.
        max_side: larger images are reduced to this longer side first; None: never.
        threshold: largest distance of an inlier, in pixels of the reduced source.
        fewest: matches, and inliers among them, that are needed.

    Returns:
        3x3 float64, ``matrix[2, 2] == 1``.

    Raises:
        FlowError: too few points agree, or on nothing plausible; the message says which.
    """
    (points_s, found_s, to_s), (points_t, found_t, to_t) = (
        _detect(image, detector, most, max_side) for image in (source, target)
    )
    if min(len(points_s), len(points_t)) < max(2, fewest):
        raise FlowError(f"{min(len(points_s), len(points_t))} key points")
    matcher = cv2.BFMatcher(cv2.NORM_L2 if detector == "sift" else cv2.NORM_HAMMING)
    nearest = matcher.knnMatch(found_t, found_s, k=2)
    good = [pair[0] for pair in nearest if len(pair) == 2 and pair[0].distance < RATIO * pair[1].distance]
    if len(good) < fewest:
        raise FlowError(f"{len(good)} matches")
    matched_t = points_t[[match.queryIdx for match in good]]
    matched_s = points_s[[match.trainIdx for match in good]]
    matrix, inliers = magsac_homography(matched_t, matched_s, threshold)
    if matrix is None or inliers < fewest:
        raise FlowError(f"{inliers} inliers among {len(good)} matches")
    full = np.asarray(np.linalg.inv(to_s) @ matrix @ to_t, np.float64)
    # The appearance of a key point is not that of its mirror image.
    fault = transform_fault(full, (target.shape[0], target.shape[1]), mirror=False)
    if fault:
        raise FlowError(f"the homography {fault}")
    return np.asarray(full / full[2, 2], np.float64)


def _detect(image: Pixels, detector: str, most: int, max_side: int | None) -> tuple[Floats, Array, Matrix]:
    """Key points ``(N, 2)``, their descriptors, and the transform to the size they were found at."""
    height, width = image.shape[:2]
    scale = min(1.0, max_side / max(height, width)) if max_side else 1.0
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA) if scale < 1 else image
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    finder = (_cv.SIFT_create if detector == "sift" else _cv.ORB_create)(nfeatures=most)
    keypoints, descriptors = finder.detectAndCompute(grey, None)
    if descriptors is None or not len(keypoints):
        return np.empty((0, 2), np.float32), np.empty((0, 1), np.float32), np.eye(3)
    if detector == "sift":
        values = np.asarray(descriptors, np.float32)
        descriptors = np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-6))
    points = np.array([keypoint.pt for keypoint in keypoints], np.float32)
    return points, descriptors, resizing_matrix((height, width), size)
