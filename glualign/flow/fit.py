"""One matrix for a whole flow: the homography, affine map, similarity or shift most of it agrees with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError
from glualign.flow.field import Flow

TransformModel = Literal["homography", "affine", "similarity", "translation"]

_MINIMAL = {"homography": 4, "affine": 3, "similarity": 2, "translation": 1}
_HYPOTHESES = 400
_SCORED_POINTS = 2000
_REFITS = 12
# Outside this range of scale the matrix describes no picture of the same thing.
SCALE_RANGE = (1 / 50, 50.0)

Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fit:
    """A transform fitted to a flow.

    Attributes:
        model: what kind of transform it is.
        matrix: 3x3 float64, homogeneous target pixels -> source pixels, ``matrix[2, 2] == 1``.
        inlier_share: share (0 to 1) of the flow within the threshold of it.
        residual: median distance of those inliers from it, in source pixels.
    """

    model: TransformModel
    matrix: npt.NDArray[np.float64]
    inlier_share: float
    residual: float


def fit_transform(
    flow: Flow,
    model: TransformModel = "homography",
    weights: npt.NDArray[np.float32] | npt.NDArray[np.bool_] | None = None,
    *,
    threshold: float = 3.0,
    max_points: int = 20_000,
    seed: int = 0,
) -> Fit:
    """Fit a transform robustly: homographies with MAGSAC++, the others with RANSAC and Tukey's weights.

    Args:
        flow: target -> source.
        model: the kind of transform.
        weights: ``(H, W)`` confidence or mask; pixels count in proportion, those at 0 not at all.
        threshold: largest distance of an inlier, in source pixels.
        max_points: pixels drawn from the flow.
        seed: of the draws; equal seeds give equal results.

    Raises:
        FlowError: too few known pixels, or no transform of that kind makes sense of the flow (degenerate,
            the horizon crosses the picture, or the scale is beyond 50).
    """
    if model not in get_args(TransformModel):
        raise FlowError(f"transform {model!r} is not one of {', '.join(get_args(TransformModel))}")
    generator = np.random.default_rng(seed)
    target, source = draw_points(flow, weights, max_points, generator)
    needed = _MINIMAL[model]
    if len(target) < needed:
        raise FlowError(f"a {model} needs {needed} known pixels, the flow has {len(target)}")
    if model == "homography":
        matrix = _homography(target, source, threshold)
    else:
        matrix = _linear(model, target, source, threshold, generator)
    matrix = _refit(model, matrix, target, source, threshold)
    if matrix is None or not np.isfinite(matrix).all() or abs(matrix[2, 2]) < 1e-12:
        raise FlowError(f"no {model} fits the flow")
    matrix = matrix / matrix[2, 2]
    _check_sane(matrix, flow, model)
    distance = _distances(matrix, target, source)
    inliers = distance <= threshold
    residual = float(np.median(distance[inliers])) if inliers.any() else float("nan")
    return Fit(model, matrix, float(inliers.mean()), residual)


def draw_points(
    flow: Flow,
    weights: npt.NDArray[np.float32] | npt.NDArray[np.bool_] | None,
    max_points: int,
    generator: np.random.Generator,
) -> tuple[Points, Points]:
    """At most ``max_points`` known target pixels and their source positions, ``(N, 2)`` each as (x, y).

    Raises:
        FlowError: the weights are not of the flow's size.
    """
    usable = flow.known
    if weights is not None:
        if weights.shape != flow.size:
            raise FlowError(f"the weights are {weights.shape}, the flow is {flow.size}")
        usable = usable & (np.nan_to_num(np.asarray(weights, np.float32)) > 0)
    index = np.flatnonzero(usable)
    if index.size > max_points:
        chance = None
        if weights is not None:
            chance = np.asarray(weights, np.float64).ravel()[index]
            chance = chance / chance.sum()
        index = np.sort(generator.choice(index, max_points, replace=False, p=chance))
    rows, columns = np.divmod(index, flow.width)
    target = np.stack([columns, rows], axis=-1).astype(np.float64)
    return target, target + flow.data[rows, columns]


def _homography(target: Points, source: Points, threshold: float) -> Points | None:
    import cv2

    try:
        matrix, _ = cv2.findHomography(
            target, source, cv2.USAC_MAGSAC, threshold, maxIters=5000, confidence=0.9999
        )
    except cv2.error:
        return None
    return None if matrix is None else np.asarray(matrix, np.float64)


def _linear(
    model: str, target: Points, source: Points, threshold: float, generator: np.random.Generator
) -> Points | None:
    needed = _MINIMAL[model]
    scored = generator.permutation(len(target))[:_SCORED_POINTS]
    best, best_cost = None, np.inf
    for _ in range(_HYPOTHESES):
        chosen = generator.choice(len(target), needed, replace=False)
        candidate = _least_squares(model, target[chosen], source[chosen], np.ones(needed))
        if candidate is None:
            continue
        # MSAC: inliers cost their squared distance, outliers the same for all.
        squared = np.square(_distances(candidate, target[scored], source[scored]))
        cost = float(np.minimum(squared, threshold**2).sum())
        if cost < best_cost:
            best, best_cost = candidate, cost
    return best


def _refit(
    model: str, matrix: Points | None, target: Points, source: Points, threshold: float
) -> Points | None:
    """Least squares over all points, weighted by Tukey's function of their distance, again and again."""
    for _ in range(_REFITS):
        if matrix is None:
            return None
        closeness = np.maximum(1 - np.square(_distances(matrix, target, source) / (2 * threshold)), 0)
        refined = _least_squares(model, target, source, np.square(closeness))
        if refined is None:
            break
        matrix = refined
    return matrix


def _least_squares(model: str, target: Points, source: Points, weight: Points) -> Points | None:
    """The weighted least-squares transform, or None where the points do not determine it."""
    total = weight.sum()
    if total <= 0:
        return None
    if model == "homography":
        return _projective(target, source, weight)
    target_mean, source_mean = weight @ target / total, weight @ source / total
    p, q = target - target_mean, source - source_mean
    linear = np.eye(2)
    if model == "similarity":
        spread = float(weight @ np.square(p).sum(axis=1))
        if spread < 1e-9:
            return None
        # As complex numbers: q = (a + ib) p.
        a = float(weight @ (p[:, 0] * q[:, 0] + p[:, 1] * q[:, 1])) / spread
        b = float(weight @ (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0])) / spread
        linear = np.array([[a, -b], [b, a]])
    elif model == "affine":
        moments = (p * weight[:, None]).T @ p
        if np.linalg.det(moments) < 1e-9 * max(np.trace(moments), 1e-9) ** 2:
            return None
        linear = np.linalg.solve(moments, (p * weight[:, None]).T @ q).T
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = source_mean - linear @ target_mean
    return matrix


def _projective(target: Points, source: Points, weight: Points) -> Points | None:
    """Weighted direct linear transform on normalised points (Hartley and Zisserman, section 4.4)."""
    to_p, p = _normalised(target, weight)
    to_q, q = _normalised(source, weight)
    if to_p is None or to_q is None:
        return None
    one, none = np.ones(len(p)), np.zeros((len(p), 3))
    homogeneous = np.column_stack([p, one])
    first = np.column_stack([homogeneous, none, -q[:, :1] * homogeneous])
    second = np.column_stack([none, homogeneous, -q[:, 1:] * homogeneous])
    rows = np.concatenate([first, second])
    moments = (rows * np.tile(weight, 2)[:, None]).T @ rows
    solution = np.linalg.eigh(moments)[1][:, 0].reshape(3, 3)
    return np.asarray(np.linalg.inv(to_q) @ solution @ to_p)


def _normalised(points: Points, weight: Points) -> tuple[Points | None, Points]:
    """A matrix to mean 0 and mean square 1, and the points under it; None when they coincide."""
    total = weight.sum()
    mean = weight @ points / total
    spread = float(np.sqrt(weight @ np.square(points - mean).sum(axis=1) / total))
    if spread < 1e-6:
        return None, points
    matrix = np.array([[1 / spread, 0, -mean[0] / spread], [0, 1 / spread, -mean[1] / spread], [0, 0, 1]])
    return matrix, (points - mean) / spread


def _distances(matrix: Points, target: Points, source: Points) -> Points:
    mapped = np.column_stack([target, np.ones(len(target))]) @ matrix.T
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.hypot(*(mapped[:, :2] / mapped[:, 2:] - source).T)
    return np.asarray(np.nan_to_num(distance, nan=np.inf))


def _check_sane(matrix: Points, flow: Flow, model: str) -> None:
    right, bottom = flow.width - 1, flow.height - 1
    corners = np.array([[0, 0, 1], [right, 0, 1], [right, bottom, 1], [0, bottom, 1]], np.float64)
    depth = corners @ matrix[2]
    if not ((depth > 1e-6).all() or (depth < -1e-6).all()):
        raise FlowError(f"no real {model}: the one that fits best puts the horizon inside the picture")
    # Area change at each corner: det(matrix) / depth^3 (derivative of a projective map).
    area = np.linalg.det(matrix) / depth**3
    low, high = SCALE_RANGE
    if not ((np.abs(area) >= low**2) & (np.abs(area) <= high**2)).all():
        raise FlowError(f"no real {model}: the one that fits best changes the scale more than {high:g} times")
