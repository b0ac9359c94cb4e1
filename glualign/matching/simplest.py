"""The simplest global model that explains a pair as well as its flow does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError
from glualign.flow import Fit, Flow, TransformModel, fit_transform
from glualign.matching.fusion import LEAST, FusedMatch
from glualign.matching.registration import register
from glualign.matching.similarity import EdgeSimilarity, Similarity

MODELS: tuple[TransformModel, ...] = ("similarity", "affine", "homography")
FEWEST_INLIERS = 1 / 3
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
) -> Fit | None:
    """A global model that shows the target's edges as well as the flow does, everywhere; None without one.

    Each model is compared as it fits the flow and as `register` moves it.

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
            fit = fit_transform(flow, model, weights)
        except FlowError:
            continue
        if fit.inlier_share < FEWEST_INLIERS:
            continue
        candidates = [fit.matrix, register(edges.pair, fit.matrix, model)]
        shown = [edges.compare(np.asarray(each @ from_working, np.float64)) for each in candidates]
        moved = shown[1].total > shown[0].total
        if explains(shown[moved], dense):
            return replace(fit, matrix=candidates[moved])
    return None


def explains(model: Similarity, dense: Similarity) -> bool:
    """Whether a model shows the edges as well as a flow, in all and in every part of the frame."""
    both = dense.covered & model.covered
    model, dense = model._replace(covered=both), dense._replace(covered=both)
    if model.total < EXPLAINED * dense.total:
        return False
    contradicted = both & (dense.local(WINDOW) > model.local(WINDOW) + CONTRADICTION)
    return bool(contradicted.mean() < FEWEST_CONTRADICTING)
