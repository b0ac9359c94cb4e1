"""The simplest global model that explains a pair as well as its flow does."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError
from glualign.flow import Flow, TransformModel, fit_transform
from glualign.matching.fusion import LEAST, FusedMatch
from glualign.matching.options import Transform
from glualign.matching.similarity import EdgeSimilarity, Similarity

MODELS: tuple[TransformModel, ...] = ("similarity", "affine", "homography")
FEWEST_INLIERS = 0.5
"""Share of the trusted flow that a model must explain to be one at all."""
EXPLAINED = 0.96
"""Share of the flow's edge similarity that a model must reach. On public pairs models of flat scenes reach
0.95 to 1.11, most of them 0.97 and more; those of the four Middlebury scenes 0.95 at most."""
WINDOW = 21
"""Side in pixels, at the compared size, of the window in which the flow may contradict the model."""
CONTRADICTION = 0.25
"""Local edge similarity by which the flow must exceed the model's to contradict it ..."""
FEWEST_CONTRADICTING = 0.005
"""... and the share of the frame in which it must do so: something moves by itself there."""


def simplest_model(
    flow: Flow, weights: npt.NDArray[np.float32] | None, edges: EdgeSimilarity, best: FusedMatch
) -> Transform:
    """``dense`` unless a global model shows the target's edges as well as the flow does, everywhere.

    Args:
        flow: of the pair, in source pixels.
        weights: ``(H, W)`` confidence of the flow.
        edges: of the pair.
        best: the hypothesis that the flow is of.
    """
    dense = edges.compare(best.result.transform, best.flow)
    from_working = np.linalg.inv(edges.pair.from_target)
    # Edges that hardly agree explain nothing.
    for model in MODELS if dense.total > LEAST else ():
        try:
            fit = fit_transform(flow, model, weights, max_points=4000)
        except FlowError:
            continue
        shown = edges.compare(np.asarray(fit.matrix @ from_working, np.float64))
        if fit.inlier_share >= FEWEST_INLIERS and explains(shown, dense):
            return model
    return "dense"


def explains(model: Similarity, dense: Similarity) -> bool:
    """Whether a model shows the edges as well as a flow, in all and in every part of the frame."""
    both = dense.covered & model.covered
    model, dense = model._replace(covered=both), dense._replace(covered=both)
    if model.total < EXPLAINED * dense.total:
        return False
    contradicted = both & (dense.local(WINDOW) > model.local(WINDOW) + CONTRADICTION)
    return bool(contradicted.mean() < FEWEST_CONTRADICTING)
