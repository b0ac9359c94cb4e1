"""From the best hypothesis about a pair to the flow of every pixel: dense, or of one global model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glualign.alignment import Alignment
from glualign.arrays import Field, Floats, Matrix
from glualign.flow import Flow, fit_tps, fit_transform, from_transform
from glualign.geometry import resize_flow, to_source_pixels
from glualign.matching.assess import TRUSTED_ERROR, Figures, assess, confidence_of
from glualign.matching.estimate import FusedMatch, MeasuredFlow, expected_error, full_error
from glualign.matching.global_model import MODELS, simplest_model
from glualign.matching.options import Transform
from glualign.matching.pair import PairMatcher, cell_centres
from glualign.matching.similarity import EdgeSimilarity, Similarity, content_correlation
from glualign.rendering import reaches_data, within_data


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A flow of every pixel that may be the result."""

    flow: Flow
    measured: MeasuredFlow
    motion: Transform = "dense"
    matrix: Matrix | None = None
    inlier_share: float | None = None


def finish(best: FusedMatch, measured: MeasuredFlow, transform: Transform = "auto") -> Alignment:
    """The flow of every pixel, or of the ``transform`` fitted to it, with what can be said about it.

    ``measured`` is the flow of the hypothesis, or its refinement. Confidence, trust and every figure are
    those of the flow that is returned.

    Raises:
        FlowError: the transform cannot be fitted.
    """
    pair = best.edges.pair
    source, target = pair.source, pair.target.image
    equal = source.pixels.dtype == target.pixels.dtype and np.array_equal(source.pixels, target.pixels)
    if equal and transform in ("auto", "dense"):
        candidate = _unmoved(transform, best)
    elif transform == "auto":
        candidate = _simplest(measured, best)
    else:
        candidate = _dense(measured, best)
        if transform != "dense":
            candidate = _fitted(candidate, transform, best)
    error = full_error(candidate.measured.error, pair.target_size)
    returned, similarity = candidate.measured.returned, candidate.measured.similarity
    known, unit = returned[np.isfinite(returned)], max(pair.target_size) / max(pair.working)
    figures = Figures(
        median_error=float(np.median(known)) * unit if known.size else None,
        consistency=best.result.consistency,
        edge_similarity=similarity.total,
        content_correlation=content_correlation(best.edges.target, similarity),
        inlier_share=candidate.inlier_share,
        motion=candidate.motion,
    )
    return assess(source, target, candidate.flow, candidate.matrix, error, figures)


def assess_fitted(
    free: Flow, transform: Transform, found: Alignment, pair: PairMatcher, error: Floats
) -> Alignment:
    """The alignment by a ``transform`` fitted to a flow that was ``found`` by composition.

    ``error`` is what is expected of that flow, ``(H, W)`` working pixels; expected errors add up.

    Raises:
        FlowError: the transform cannot be fitted.
    """
    source, target = pair.source, pair.target.image
    weights = np.where(within_data(target, reaches_data(source, free)), confidence_of(error), np.float32(0))
    flow, matrix, inlier_share = fit_model(
        Flow(free.data.copy(), free.source_size), transform, weights if weights.any() else None
    )
    apart = np.linalg.norm(flow.data - free.data, axis=2) * np.float32(max(pair.working) / max(source.size))
    error = error + np.where(np.isfinite(apart), apart, np.float32(np.inf))
    # On cells as at 1/4; between them a model is smooth.
    motion = flow if matrix is None else matrix
    cells = pair.on_cells(motion, pair.to_source, cell_centres(pair.working, 4))
    edges = EdgeSimilarity(pair)
    similarity = edges.compare(pair.to_source, cells)
    figures = Figures(
        median_error=None,
        consistency=found.quality.consistency,
        edge_similarity=similarity.total,
        content_correlation=content_correlation(edges.target, similarity),
        inlier_share=inlier_share,
        motion=transform,
    )
    return assess(source, target, flow, matrix, error, figures)


def fit_model(
    flow: Flow, transform: Transform, weights: Floats | None
) -> tuple[Flow, Matrix | None, float | None]:
    """The flow of the ``transform`` fitted to a flow, its matrix where it has one, and its share of inliers.

    The fitted flow takes the memory of ``flow``: images may have hundreds of megapixels.

    Raises:
        FlowError: the transform cannot be fitted.
    """
    # These fit nothing.
    assert transform != "auto"
    assert transform != "dense"
    if transform == "tps":
        fitted, share = fit_tps(flow, weights)
        return fitted, None, share
    fit = fit_transform(flow, transform, weights)
    fitted = from_transform(fit.matrix, flow.size, flow.source_size, out=flow.data)
    return fitted, fit.matrix, fit.inlier_share


def _unmoved(transform: Transform, best: FusedMatch) -> _Candidate:
    """No motion, for certain: both images have equal pixels."""
    matrix, pair = np.eye(3), best.edges.pair
    measured = _measured(pair.on_cells(matrix, best.result.transform, best.result.centres), best)
    measured.error[:] = 0
    flow = from_transform(matrix, pair.target_size, pair.source_size)
    if transform == "dense":
        return _Candidate(flow, measured)
    return _Candidate(flow, measured, MODELS[0], matrix, 1.0)


def _measured(
    cells: Field, best: FusedMatch, similarity: Similarity | None = None, *, imposed: bool = False
) -> MeasuredFlow:
    """Another flow of the cells in working pixels, measured by the match's way back and by edges."""
    similarity = similarity or best.edges.compare(best.result.transform, cells)
    returned = best.result.way_back(cells)
    error = expected_error(returned, best.result, similarity, imposed=imposed)
    return MeasuredFlow(cells, best.edges.pair.working, error, returned, similarity)


def _dense(measured: MeasuredFlow, best: FusedMatch) -> _Candidate:
    pair = best.edges.pair
    to_source = best.result.transform @ pair.from_target
    flow = resize_flow(measured.flow, pair.target_size, frame=measured.frame)
    return _Candidate(Flow(to_source_pixels(flow, to_source), pair.source_size), measured)


def _simplest(measured: MeasuredFlow, best: FusedMatch) -> _Candidate:
    """The simplest global model that explains the pair, with parts that move otherwise; else the flow."""
    if not (measured.error < TRUSTED_ERROR).any():
        return _dense(measured, best)
    weights = np.where(np.isfinite(measured.returned), confidence_of(measured.error), np.float32(0))
    found, pair = simplest_model(measured, weights, best), best.edges.pair
    if found is None:
        return _dense(measured, best)
    if found.flow is not None:
        return _dense(_measured(found.flow, best), best)
    matrix, inlier_share = found.fit
    cells = pair.on_cells(matrix, best.result.transform, best.result.centres)
    whole = from_transform(matrix, pair.target_size, pair.source_size)
    return _Candidate(whole, _measured(cells, best, found.similarity), found.model, matrix, inlier_share)


def _fitted(dense: _Candidate, transform: Transform, best: FusedMatch) -> _Candidate:
    """A global model fitted to a flow of every pixel, whose memory it takes."""
    pair = best.edges.pair
    error = full_error(dense.measured.error, pair.target_size)
    error[~within_data(pair.target.image, reaches_data(pair.source, dense.flow))] = np.inf
    any_trusted = bool((error < TRUSTED_ERROR).any())
    weights = confidence_of(error, out=error)
    flow, matrix, inlier_share = fit_model(dense.flow, transform, weights if any_trusted else None)
    del error, weights  # images may have hundreds of megapixels
    motion = flow if matrix is None else matrix
    cells = pair.on_cells(motion, best.result.transform, best.result.centres)
    return _Candidate(flow, _measured(cells, best, imposed=True), transform, matrix, inlier_share)
