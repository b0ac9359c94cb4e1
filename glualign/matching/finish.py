"""From the best hypothesis about a pair to the flow of every pixel, its expected error and its quality."""

from __future__ import annotations

import numpy as np

from glualign.alignment import Alignment, holds_data
from glualign.arrays import Floats
from glualign.flow import Flow, fit_tps, fit_transform, folding_share, from_transform
from glualign.geometry import (
    Field,
    Matrix,
    apply_transform,
    forward_backward_error,
    resize_flow,
    sample,
)
from glualign.matching.estimate import FusedMatch, expected_error
from glualign.matching.global_model import simplest_model
from glualign.matching.options import Transform
from glualign.matching.pair import MatchResult, PairMatcher
from glualign.matching.predictor import to_source_pixels
from glualign.matching.quality import TRUSTED_ERROR, Quality, confidence_of, verdict_on
from glualign.matching.refinement import Refined, full_error
from glualign.matching.similarity import EdgeSimilarity, content_agreement


def finish(
    best: FusedMatch,
    pair: PairMatcher,
    edges: EdgeSimilarity,
    refined: Refined | None,
    transform: Transform = "auto",
) -> Alignment:
    """The flow of every pixel, or of the ``transform`` fitted to it, with what can be said about it.

    Confidence, trust and every figure are those of the flow that is returned.

    Raises:
        FlowError: the transform cannot be fitted.
    """
    size, result = pair.target_size, best.result
    if refined is None:
        residual, expected = resize_flow(best.flow, size, frame=pair.working), best.error
    else:
        expected = refined.error * np.float32(max(pair.working) / max(refined.error.shape))
        residual = resize_flow(refined.flow, size)
        if residual is refined.flow:  # it is measured below
            residual = residual.copy()
    view = np.asarray(result.transform @ pair.from_target, np.float64)
    flow = Flow(to_source_pixels(residual, view), source_size=pair.source_size)
    source, target = pair.source, pair.target.image
    equal = source.pixels.dtype == target.pixels.dtype and np.array_equal(source.pixels, target.pixels)
    if equal:
        flow = Flow(np.zeros_like(flow.data), source_size=pair.source_size)
    valid, similarity = holds_data(source, target, flow), best.similarity
    matrix = inlier_share = None
    imposed = transform not in ("auto", "dense")
    # Computed again below: images may have hundreds of megapixels.
    weights = full_error(expected, size)
    any_trusted = bool((valid & (weights < TRUSTED_ERROR)).any())
    weights = confidence_of(weights, out=weights)
    weights[~valid] = 0
    if transform == "auto":
        transform = "dense"
        if any_trusted and (found := simplest_model(flow, weights, edges, best)):
            transform, (matrix, inlier_share) = found
            flow = from_transform(matrix, flow.size, flow.source_size, out=flow.data)
    elif transform != "dense":
        flow, matrix, inlier_share = fit_model(flow, transform, weights if any_trusted else None)
    del weights
    cells = _on_cells(flow, result, pair)
    compared = edges.compare(result.transform, cells)
    content = content_agreement(edges.target, compared)
    if transform != "dense":
        valid, similarity = holds_data(source, target, flow), compared.total
        expected = expected_error(cells, result, compared, imposed=imposed)
    error = full_error(expected, size)
    if refined is None or transform != "dense":
        returned = result.way_back(cells)
        unit = max(size) / max(pair.working)
    else:
        returned = forward_backward_error(refined.flow, refined.backward, exists=refined.exists)
        unit = max(size) / max(returned.shape)
    if returned.shape == result.counted.shape:
        returned[~result.counted] = np.inf
    if equal and not imposed:
        error[:] = 0
    measured = returned[np.isfinite(returned)]
    trusted = valid & (error < TRUSTED_ERROR)
    # What the target does not show at all counts neither for nor against.
    known = 1.0 if pair.target.missing is None else 1.0 - float(pair.target.missing.mean())
    share = float(trusted.mean())
    quality = Quality(
        verdict=verdict_on(share / max(known, 1e-9), result.consistency, similarity, content),
        valid_share=float(valid.mean()),
        trusted_share=share,
        median_error=float(np.median(measured) * unit) if measured.size else None,
        edge_agreement=similarity,
        content_agreement=content,
        inlier_share=inlier_share,
        folding_share=folding_share(flow),
        motion=transform,
    )
    confidence = confidence_of(error, out=error)
    confidence[~valid] = 0
    return Alignment(source, target, flow, trusted, confidence, quality, matrix)


def fit_model(
    flow: Flow, transform: Transform, weights: Floats | None
) -> tuple[Flow, Matrix | None, float | None]:
    """The flow of the ``transform`` fitted to a flow, its matrix where it has one, and its share of inliers.

    The fitted flow takes the memory of ``flow``: images may have hundreds of megapixels.

    Raises:
        FlowError: the transform cannot be fitted.
    """
    if transform == "auto" or transform == "dense":
        return flow, None, None
    if transform == "tps":
        fitted, share = fit_tps(flow, weights)
        return fitted, None, share
    fit = fit_transform(flow, transform, weights)
    fitted = from_transform(fit.matrix, flow.size, flow.source_size, out=flow.data)
    return fitted, fit.matrix, fit.inlier_share


def _on_cells(flow: Flow, result: MatchResult, pair: PairMatcher) -> Field:
    """A flow target -> source as the cells of a match: target -> transformed source, in working pixels."""
    centres = result.centres
    at = apply_transform(np.asarray(np.linalg.inv(pair.from_target), np.float64), centres)
    position = at + sample(flow.data, at[..., 0], at[..., 1], outside="edge")
    to_frame = np.asarray(np.linalg.inv(result.transform), np.float64)
    return np.asarray(apply_transform(to_frame, position) - centres, np.float32)
