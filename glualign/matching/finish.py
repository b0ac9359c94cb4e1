"""From the best hypothesis about a pair to the flow of every pixel, and how far it can be trusted."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from glualign.alignment import Alignment, holds_data
from glualign.arrays import Floats, Mask
from glualign.flow import Fit, Flow, fit_tps, fit_transform, folding_share, from_transform
from glualign.geometry import Matrix, forward_backward_error, resize_flow
from glualign.matching.estimate import FusedMatch, expected_error, full_error
from glualign.matching.global_model import MODELS, Explained, simplest_model
from glualign.matching.options import Transform
from glualign.matching.pair import PairMatcher, PreparedImage, cell_centres
from glualign.matching.predictor import to_source_pixels
from glualign.matching.refinement import Refined
from glualign.matching.similarity import EdgeSimilarity, content_agreement

Verdict = Literal["good", "doubtful", "failed"]

TRUSTED_ERROR = 5.0
"""Working pixels of expected error below which a valid pixel is trusted."""
CONFIDENCE_SCALE = 4.0
"""Working pixels of expected error at which the confidence is 1/e; benchmarks/reliability.py shows what it is
worth."""
UNRELATED = 0.12
"""Edge similarity up to which images look unrelated. On the drawn pairs of benchmarks/verdicts.py right
alignments have 0.47 and more, unrelated pairs 0.23 at most, 16 of 26 below this limit. Two walls of one
pattern have 0.96, forms and tables on one grid 0.66 to 0.72: see `CONTENT_AGREES`."""
CONVINCING = 0.4
"""Edge similarity, or consistency of both directions, of a right alignment of images that look alike."""
CONTENT_AGREES = 0.18
"""Squared correlation of what lies between the shared edges, from which it agrees. On the same pairs walls,
forms and tables of different content are all below it, and two of 34 right alignments are."""
FEWEST_TRUSTED = 0.02
"""Share of the target below which too little is left to call it aligned."""


@dataclass(frozen=True)
class Quality:
    """Trust in one alignment.

    Attributes:
        verdict: ``good``, ``doubtful`` or ``failed``.
        valid_share: share of target pixels whose source position is inside the source.
        trusted_share: share of target pixels that are valid and whose expected error is small.
        median_error: median error, in target pixels, of going to the source by the final flow and back by the
            network's backward flow; None where no pixel's way back was measured.
        edge_agreement: edge similarity of target and aligned source, which does not depend on the network:
            about 0 for unrelated images, 1 for equal ones.
        content_agreement: squared correlation, 0 to 1, of what lies between the edges that both show; None
            where that is too little to judge by.
        inlier_share: share of the trusted flow that one global transform explains; None when none was fitted.
        folding_share: share of pixels at which the flow folds over itself (negative Jacobian).
        motion: what the flow is: ``dense``, or the global model that was fitted.
    """

    verdict: Verdict
    valid_share: float
    trusted_share: float
    median_error: float | None
    edge_agreement: float
    content_agreement: float | None
    inlier_share: float | None
    folding_share: float
    motion: Transform = "dense"


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
    source, target = pair.source, pair.target.image
    equal = source.pixels.dtype == target.pixels.dtype and np.array_equal(source.pixels, target.pixels)
    imposed = transform not in ("auto", "dense")
    field, frame, expected, returned = best.flow, pair.working, best.error, best.returned
    if refined is not None:
        field, frame = refined.flow, refined.exists.shape
        expected = refined.error * np.float32(max(pair.working) / max(frame))
        returned = forward_backward_error(field, refined.backward, exists=refined.exists)
    matrix = inlier_share = found = None
    compared = best.similarity
    if transform == "auto":
        transform = "dense"
        if equal:
            found = Explained(MODELS[0], Fit(np.eye(3), 1.0), compared)
        elif (expected < TRUSTED_ERROR).any():
            weights = np.where(np.isfinite(returned), confidence_of(expected), np.float32(0))
            found = simplest_model(field, frame, weights, edges, best)
    if found and found.flow is not None:
        field, found = found.flow, None
        returned, compared = result.way_back(field), edges.compare(result.transform, field)
        expected = expected_error(returned, result, compared)
    if found:
        transform, (matrix, inlier_share), compared, _ = found
        flow = from_transform(matrix, size, pair.source_size)
    else:
        to_source = np.asarray(result.transform @ pair.from_target, np.float64)
        residual = to_source_pixels(resize_flow(field, size, frame=frame), to_source)
        flow = Flow(np.zeros_like(residual) if equal else residual, pair.source_size)
    if imposed:
        # Computed again below: images may have hundreds of megapixels.
        weights = full_error(expected, size)
        weights[~holds_data(source, target, flow)] = np.inf
        any_trusted = bool((weights < TRUSTED_ERROR).any())
        weights = confidence_of(weights, out=weights)
        flow, matrix, inlier_share = fit_model(flow, transform, weights if any_trusted else None)
        del weights
    if transform != "dense" or equal:
        cells = pair.on_cells(flow if matrix is None else matrix, result.transform, result.centres)
        returned, frame = result.way_back(cells), pair.working
        compared = compared if found else edges.compare(result.transform, cells)
    if transform != "dense":
        expected = expected_error(returned, result, compared, imposed=imposed)
    content = content_agreement(edges.target, compared)
    valid, error = holds_data(source, target, flow), full_error(expected, size)
    if equal and not imposed:
        error[:] = 0
    if compared.total < UNRELATED and result.consistency < CONVINCING:
        # What agrees does so by chance.
        error = np.maximum(error, np.float32(TRUSTED_ERROR))
    measured = returned[np.isfinite(returned)]
    trusted = valid & (error < TRUSTED_ERROR)
    quality = Quality(
        verdict=verdict_on(share_of_shown(trusted, pair.target), result.consistency, compared.total, content),
        valid_share=float(valid.mean()),
        trusted_share=float(trusted.mean()),
        median_error=float(np.median(measured)) * max(size) / max(frame) if measured.size else None,
        edge_agreement=compared.total,
        content_agreement=content,
        inlier_share=inlier_share,
        folding_share=folding_share(flow) if matrix is None else float(np.linalg.det(matrix) < 0),
        motion=transform,
    )
    confidence = confidence_of(error, out=error)
    confidence[~valid] = 0
    return Alignment(source, target, flow, trusted, confidence, quality, matrix)


def judge_imposed(found: Alignment, pair: PairMatcher, apart: Floats) -> Alignment:
    """An alignment whose flow was replaced by one that is ``apart`` from it, ``(H, W)`` in source pixels.

    ``found`` has the new flow, with trust and figures of the former one; ``pair`` is of its images.
    """
    matrix = found.transform
    valid = holds_data(found.source, found.target, found.flow)
    known = valid & np.isfinite(apart)
    expected = np.where(known, apart, np.inf) * np.float32(max(pair.working) / max(pair.source_size))
    # Expected errors add up.
    confidence = confidence_of(expected) * found.confidence
    trusted = valid & (confidence > math.exp(-TRUSTED_ERROR / CONFIDENCE_SCALE))
    edges = EdgeSimilarity(pair)
    centres = cell_centres(pair.working, 4)  # as at 1/4; between them a model is smooth
    cells = pair.on_cells(found.flow if matrix is None else matrix, pair.to_source, centres)
    compared = edges.compare(pair.to_source, cells)
    content = content_agreement(edges.target, compared)
    quality = replace(
        found.quality,
        verdict=verdict_on(share_of_shown(trusted, pair.target), 0.0, compared.total, content),
        valid_share=float(valid.mean()),
        trusted_share=float(trusted.mean()),
        median_error=None,
        edge_agreement=compared.total,
        content_agreement=content,
        folding_share=folding_share(found.flow),
    )
    return replace(found, trusted=trusted, confidence=confidence, quality=quality)


def share_of_shown(trusted: Mask, target: PreparedImage) -> float:
    """Share that is trusted of what the target shows: the rest counts neither for nor against."""
    shown = 1.0 if target.missing is None else 1.0 - float(target.missing.mean())
    return float(trusted.mean()) / max(shown, 1e-9)


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


def confidence_of(error: Floats, out: Floats | None = None) -> Floats:
    """Confidence, 0 to 1, of an expected error in working pixels, in ``out`` where that is given."""
    out = np.divide(error, np.float32(-CONFIDENCE_SCALE), out=out)
    return np.exp(out, out=out)


def verdict_on(
    trusted_share: float, consistency: float, edge_similarity: float, content: float | None
) -> Verdict:
    """The verdict, from figures of `Quality` and the mean consistency of forward and backward flow."""
    if trusted_share < FEWEST_TRUSTED:
        return "failed"
    if edge_similarity >= CONVINCING and content is not None and content < CONTENT_AGREES:
        return "doubtful"
    if edge_similarity >= CONVINCING or (consistency >= CONVINCING and edge_similarity >= UNRELATED):
        return "good"
    return "doubtful"
