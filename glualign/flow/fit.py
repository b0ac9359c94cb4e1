"""One matrix for a whole flow: the homography, affine map, similarity or shift most of it agrees with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glualign.arrays import Doubles, Floats, Mask
from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.geometry import Points, TransformModel, fit_points, transfer_errors, transform_fault

Weights = Floats | Mask
"""``(H, W)`` confidence or mask."""


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
    matrix: Doubles
    inlier_share: float
    residual: float


def fit_transform(
    flow: Flow,
    model: TransformModel = "homography",
    weights: Weights | None = None,
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
    generator = np.random.default_rng(seed)
    target, source = draw_points(flow, weights, max_points, generator)
    matrix = fit_points(target, source, model, threshold=threshold, generator=generator)
    fault = transform_fault(matrix, flow.size)
    if fault:
        raise FlowError(f"no real {model}: the one that fits best {fault}")
    distance = transfer_errors(matrix, target, source)
    inliers = distance <= threshold
    residual = float(np.median(distance[inliers])) if inliers.any() else float("nan")
    return Fit(model, matrix, float(inliers.mean()), residual)


def draw_points(
    flow: Flow, weights: Weights | None, max_points: int, generator: np.random.Generator
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
