"""Fusion of the network's flow with the global motion under which it was found, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from glualign.geometry import Field
from glualign.matching.pair import CONSISTENT, Errors, Mask, MatchResult, forward_backward_error
from glualign.matching.similarity import EdgeSimilarity, Similarity, Values

WINDOW = 41
"""Side in pixels, at the compared size, of the window over which edges are compared."""
MARGIN = 0.04
"""Edge similarity by which the flow must exceed the global motion alone to be preferred."""
FLAT_SCENE = 0.85
"""When the global motion reaches this share of the flow's similarity, the scene is nearly flat ..."""
FLAT_SCENE_MARGIN = 0.15
"""... and a flow that reaches a little more has likely bent itself to fit edges."""
FLAT_SCENE_ADVANTAGE = 0.08
"""Share of the similarity missing to 1 that is added to the score of a nearly flat scene."""
STEEPNESS = 0.03
"""Edge similarity over which the blending weight rises from 1/2 to 3/4."""
CONTRADICTION = 2.0
"""Working pixels by which an imposed flow's error must exceed the network's own to be contradicted."""
LEAST = 0.12
"""Total edge similarity below which a global motion alone is no alternative ..."""
LEAST_OF_FLOW = 0.5
"""... and the share of the flow's similarity that it must reach to be one."""


@dataclass(frozen=True, eq=False)
class FusedMatch:
    """One hypothesis about a pair: a global motion and a flow on top of it.

    Attributes:
        result: the match under that global motion.
        flow: ``(h, w, 2)`` float32 cells in working pixels, the match's flow, or zero (global motion only)
            where that is better.
        backward: ``(h, w, 2)`` float32 cells, the same for the transformed source -> target.
        error: ``(h, w)`` float32, expected error in working pixels.
        similarity: total edge similarity, about 0 for unrelated images.
        score: by which hypotheses are compared. A free flow bends itself to fit edges, so one that reaches
            no more than the global motion of a nearly flat scene scores below it.
    """

    result: MatchResult
    flow: Field
    backward: Field
    error: Errors
    similarity: float
    score: float


def fuse(result: MatchResult, edges: EdgeSimilarity, *, global_motion: bool = True) -> FusedMatch:
    """Blend a match's flow with the global motion alone by local edge similarity.

    Args:
        result: the match.
        edges: of the pair.
        global_motion: whether the global motion alone is an alternative at all; else the flow stays.
    """
    dense = edges.compare(result.transform, result.forward)
    bare = edges.compare(result.transform)
    if not global_motion or bare.total < max(LEAST, LEAST_OF_FLOW * dense.total):
        return FusedMatch(result, result.forward, result.backward, result.error, dense.total, dense.total)
    flat_scene = bare.total > FLAT_SCENE * dense.total
    weight = _blending_weight(result, dense, bare, FLAT_SCENE_MARGIN if flat_scene else MARGIN)
    flow = result.forward * weight[..., None]
    error = np.where(weight > 0.5, result.error, expected_error(flow, result, bare)).astype(np.float32)
    total = edges.compare(result.transform, flow).total
    backward = result.backward * weight[..., None]
    score = total + FLAT_SCENE_ADVANTAGE * (1.0 - total) if flat_scene else total
    return FusedMatch(result, flow, backward, error, total, score)


def expected_error(
    flow: Field, result: MatchResult, similarity: Similarity, *, imposed: bool = False
) -> Errors:
    """Expected error, in working pixels, of a flow that is not the network's.

    Either the edges vouch for it (1 px where similarity is 0.5 and more, 5 px at 0; where the view ends is
    decided at full size), or the network does: both its directions agree, and its way back from the flow's
    end leads to the start.

    Args:
        flow: ``(h, w, 2)`` cells, target -> transformed source, in working pixels.
        result: the match under the same transform.
        similarity: under the transform and the flow.
        imposed: the flow was not chosen by its edges, so that the network can contradict it: where its way
            back misses by clearly more than that of the network's own flow, the miss is expected.
    """
    cells = result.error.shape[::-1]
    local = cv2.resize(similarity.local(WINDOW), cells)
    by_edges = 1.0 + 4.0 * (1.0 - np.clip(local / 0.5, 0, 1))
    returned = forward_backward_error(flow, result.backward, stride=result.stride, exists=result.exists)
    error = np.minimum(by_edges, np.maximum(returned, result.error))
    if imposed:
        error = np.where(returned > result.error + CONTRADICTION, returned, error)
    return np.asarray(error, np.float32)


def _blending_weight(result: MatchResult, dense: Similarity, bare: Similarity, margin: float) -> Values:
    """``(h, w)`` 0 to 1: share of the network's flow in each cell."""
    # Compared where both show the source: a flow finds something for every pixel, a motion may rightly not.
    both = dense.covered & bare.covered
    dense, bare = dense._replace(covered=both), bare._replace(covered=both)
    cells = result.error.shape[::-1]
    advantage = cv2.resize(dense.local(WINDOW) - bare.local(WINDOW), cells) - margin
    counted = result.counted
    trusted = _averaged(np.exp(-((result.error / (2 * CONSISTENT)) ** 2)), 20 / result.stride, counted)
    by_edges = 1.0 / (1.0 + np.exp(-np.clip(advantage / STEEPNESS, -30, 30)))
    return _averaged(by_edges * trusted, 28 / result.stride, counted)


def _averaged(values: npt.NDArray[np.floating[Any]], width: float, counted: Mask | None) -> Values:
    """Means over square windows of an odd number of cells, about ``width``, of the cells that count."""
    side = 2 * int(width / 2) + 1
    if counted is None:
        return np.asarray(cv2.blur(values.astype(np.float32), (side, side)), np.float32)
    above = cv2.blur(np.where(counted, values, 0).astype(np.float32), (side, side))
    below = cv2.blur(counted.astype(np.float32), (side, side))
    return np.asarray(above / np.maximum(below, 1e-6), np.float32)
