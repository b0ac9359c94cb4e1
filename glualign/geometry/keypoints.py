"""A homography between two images from key points: SIFT and MAGSAC++."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from glualign.geometry.transforms import Matrix, resizing_matrix

LARGEST_SIDE = 1200
MOST_KEYPOINTS = 4000
RATIO = 0.8
"""Lowe's ratio test: a match must be this much closer than the second best."""
THRESHOLD = 2.0
"""Pixels at the size where key points are found."""
FEWEST_INLIERS = 12
AREA_LIMIT = 50.0
"""The target may cover between 1/50 and 50 times its own area in the source."""

Pixels = npt.NDArray[np.uint8]


def keypoint_transform(source: Pixels, target: Pixels) -> Matrix | None:
    """Homography, target pixel -> source pixel, through key points of like appearance.

    Args:
        source: ``(H, W, 3)`` uint8 RGB.
        target: ``(H, W, 3)`` uint8 RGB.

    Returns:
        3x3 float64, or None when too few points agree or the result is no view of a plane.
    """
    (points_s, found_s, to_s), (points_t, found_t, to_t) = _detect(source), _detect(target)
    if len(points_s) < FEWEST_INLIERS or len(points_t) < FEWEST_INLIERS:
        return None
    matches = cv2.BFMatcher(cv2.NORM_L2).knnMatch(found_t, found_s, k=2)
    good = [pair[0] for pair in matches if len(pair) == 2 and pair[0].distance < RATIO * pair[1].distance]
    if len(good) < FEWEST_INLIERS:
        return None
    here = points_t[[match.queryIdx for match in good]]
    there = points_s[[match.trainIdx for match in good]]
    matrix, inliers = cv2.findHomography(
        here, there, cv2.USAC_MAGSAC, THRESHOLD, maxIters=10_000, confidence=0.9999
    )
    if matrix is None or inliers is None or int(inliers.sum()) < FEWEST_INLIERS:
        return None
    full = np.asarray(np.linalg.inv(to_s) @ matrix @ to_t, np.float64)
    return full / full[2, 2] if _is_view(full, target.shape[:2]) else None


def _detect(image: Pixels) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], Matrix]:
    """Key points ``(N, 2)``, RootSIFT descriptors, and the transform to the size they were found at."""
    height, width = image.shape[:2]
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA) if scale < 1 else image
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    keypoints, descriptors = cv2.SIFT.create(nfeatures=MOST_KEYPOINTS).detectAndCompute(grey, None)
    if descriptors is None or not len(keypoints):
        return np.empty((0, 2), np.float32), np.empty((0, 128), np.float32), np.eye(3)
    values = np.asarray(descriptors, np.float32)
    root = np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-6))
    points = np.array([keypoint.pt for keypoint in keypoints], np.float32)
    return points, np.asarray(root, np.float32), resizing_matrix((height, width), size)


def _is_view(matrix: Matrix, size: tuple[int, int]) -> bool:
    """Whether a frame of ``size`` keeps its orientation and shape: nothing behind the camera, no fold."""
    height, width = size
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]], np.float64)
    mapped = corners @ matrix.T
    depth = mapped[:, 2] / mapped[0, 2]
    if not np.isfinite(mapped).all() or (depth <= 1e-6).any():
        return False
    outline = mapped[:, :2] / mapped[:, 2:]
    edges = np.roll(outline, -1, axis=0) - outline
    following = np.roll(edges, -1, axis=0)
    turns = edges[:, 0] * following[:, 1] - edges[:, 1] * following[:, 0]
    x, y = outline.T
    area = abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
    return bool((turns > 0).all()) and 1 / AREA_LIMIT < area / (width * height) < AREA_LIMIT
