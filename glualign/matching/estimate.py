"""From a pair to the best hypothesis about it: global motions and flows, compared by edge similarity.

A hypothesis is a match's flow, fused cell by cell with the global motion under which it was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter

import cv2
import numpy as np

from glualign.arrays import Array, Field, Floats, Mask, Matrix, Points, Size
from glualign.errors import FlowError
from glualign.flow import Flow, TransformModel, draw_points, fit_drawn
from glualign.geometry import apply_transform, resize_flow, resizing_matrix, size_of
from glualign.geometry.robust import keypoint_homography
from glualign.images import reduce_image
from glualign.matching.options import AlignOptions
from glualign.matching.pair import CONSISTENT, MatchResult, PairMatcher
from glualign.matching.similarity import UNRELATED, EdgeSimilarity, Similarity

KEY_POINTS_BELOW = 0.25
"""Edge similarity below which the homography through key points is tried, too: homogr/BostonLib, whose source
shows a tenth of the target, has 0.22 without it and 0.77 with it."""
POINTS = 2000
"""Cells of a flow that a global motion is fitted to; with 4000 all public pairs have the same median error up
to 0.04 px."""
KEY_POINT_SIDE = 1200
"""Pixels; larger images are reduced to this longer side before key points are detected; set, not tuned."""
VOTING_ERROR = 2.0
"""Working pixels of forward-backward error below which a cell votes on the global motion."""
INLIER = 1.2
"""Working pixels around the transform within which a vote supports it."""
SUPPORT: dict[TransformModel, float] = {"homography": 0.25, "affine": 0.2, "similarity": 0.15}
"""Models in the order they are tried, and the share of votes that must support each."""
FEWEST_VOTES = 384
"""Working pixels whose cells must vote."""
WINDOW = 41
"""Side in pixels, at the compared size, of the window over which edges are compared."""
MARGIN = 0.04
"""Edge similarity by which the flow must exceed the global motion alone to be preferred."""
FLAT_SCENE = 0.85
"""When the global motion reaches this share of the flow's similarity, the scene is nearly flat ..."""
FLAT_SCENE_MARGIN = 0.15
"""... and a flow that reaches a little more has likely bent itself to fit edges."""
FLAT_SCENE_ADVANTAGE = 0.08
"""Share of the similarity missing to 1 that is added to the score of a nearly flat scene. Of 19 public pairs
map_optical/MO2 has 2.11 px instead of 0.73 without it, optical_optical/OO4 1.57 instead of 0.94, the others
0.03 px more at most."""
LITTLE_MISSING = 0.4
"""Where less than this is missing to full similarity, advantages count in proportion: smooth pictures are
nearly as similar under any small motion. Set, not tuned; on 25 public pairs the median stays at 1.77 px."""
STEEPNESS = 0.03
"""Edge similarity over which the blending weight rises from 1/2 to 3/4."""
CONTRADICTING_PIXELS = 2.0
"""Working pixels by which an imposed flow's error must exceed the network's own to be contradicted."""
EXPLAINED = 0.96
"""Share of the flow's edge similarity from which a global motion alone explains the pair. On public pairs
models of flat scenes reach 0.95 to 1.11, most of them 0.97 and more; those of four Middlebury scenes 0.95 at
most."""
SMALL = 1.0
"""Working pixels of motion beside a global one that explains less, which are not left to edges. With 0, 1 and
1.5 the median of the graffiti wall is 2.18, 1.65 and 1.73 px, that of four Middlebury scenes 0.33, 0.33 and
0.31."""
LEAST_OF_EITHER = 0.18
"""Total edge similarity that the flow or the motion must reach for edges to choose between them. Without it a
pair by day and night has 17 px instead of 11, one of two cars 10 instead of 13, and no other public pair
changes by a tenth."""
BY_SCORE = attrgetter("score")


@dataclass(frozen=True, eq=False)
class MeasuredFlow:
    """A flow on top of the global motion of a match, with what was measured of it."""

    flow: Field  # (h, w, 2), target -> transformed source, in pixels of the frame
    frame: Size  # the working size, or that of refinement
    error: Floats  # (h, w), expected, in working pixels
    returned: Floats  # (h, w), forward-backward error in working pixels; see `MatchResult.way_back`
    similarity: Similarity  # under the flow


@dataclass(frozen=True, eq=False)
class FusedMatch:
    """One hypothesis about a pair: a global motion and a flow on top of it, on ``(h, w)`` cells."""

    result: MatchResult  # the match under that global motion
    edges: EdgeSimilarity  # of the pair
    measured: MeasuredFlow  # of the flow of the match, or of none where the global motion alone is better
    backward: Field  # (h, w, 2), the same for the transformed source -> target
    # By which hypotheses are compared. A free flow bends itself to fit edges: one that reaches no more than
    # the global motion of a nearly flat scene scores below it.
    score: float


def best_hypothesis(edges: EdgeSimilarity, options: AlignOptions, first: MatchResult) -> FusedMatch:
    """The best of the first match and, with a search, one under the homography through key points.

    The latter where edges disagree.
    """
    best = _best_of_match(edges, options, first)
    if options.search and best.measured.similarity.total < KEY_POINTS_BELOW:
        homography = _keypoint_motion(edges.pair)
        if homography is not None:
            other = _best_of_match(edges, options, edges.pair.match_transformed(homography))
            best = max(best, other, key=BY_SCORE)
    return best


def _keypoint_motion(pair: PairMatcher) -> Matrix | None:
    """The homography through key points, working pixel -> full-size source; None where too few agree."""
    source, target = (reduce_image(each, KEY_POINT_SIDE) for each in (pair.source_pixels, pair.target_pixels))
    try:
        homography = keypoint_homography(source, target)
    except FlowError:
        return None
    to_source = resizing_matrix(size_of(source), pair.source_size)
    from_working = resizing_matrix(pair.working, size_of(target))
    return to_source @ homography @ from_working


def _best_of_match(edges: EdgeSimilarity, options: AlignOptions, result: MatchResult) -> FusedMatch:
    """A match under its own global motion, or under the one that its flow supports."""
    dense = edges.compare(result.transform, result.forward)
    best = fuse(result, edges, dense, global_motion=options.fuse_global_motion)
    motion = fit_global_motion(result) if options.fuse_global_motion else None
    if motion is None or (motion_only := edges.compare(motion)).total < UNRELATED:
        return best
    changed = edges.pair.change_transform(result, motion)
    return max(best, fuse(changed, edges, dense, motion_only), key=BY_SCORE)


def fit_global_motion(result: MatchResult) -> Matrix | None:
    """The transform, working pixel -> full-size source, through the trusted cells of a match.

    A homography when enough cells support it, else an affine map, else a similarity; None without support.
    """
    trusted = result.error < VOTING_ERROR
    if trusted.sum() * result.stride**2 < FEWEST_VOTES:
        return None
    frame = (trusted.shape[0] * result.stride, trusted.shape[1] * result.stride)
    points = draw_cells(result.forward, frame, trusted)
    for model, least in SUPPORT.items():
        try:
            fit = fit_drawn(*points, model, frame, threshold=INLIER)
        except FlowError:
            continue
        if fit.inlier_share >= least:
            return result.transform @ fit.matrix
    return None


def draw_cells(field: Field, frame: Size, weights: Floats | Mask) -> tuple[Points, Points]:
    """At most `POINTS` target and source positions ``(N, 2)`` of a flow of cells, in pixels of its ``frame``.

    Drawn in proportion to ``weights``, those of the cells.
    """
    cells = size_of(field)
    drawn = draw_points(Flow(resize_flow(field, cells, frame=frame)), weights, POINTS)
    target, source = (apply_transform(resizing_matrix(cells, frame), points) for points in drawn)
    return target, source


def fuse(
    result: MatchResult,
    edges: EdgeSimilarity,
    dense: Similarity | None = None,
    motion_only: Similarity | None = None,
    *,
    global_motion: bool = True,
) -> FusedMatch:
    """Blend a match's flow with the global motion alone by local edge similarity.

    Without ``global_motion`` that is no alternative, and the flow stays. ``dense`` and ``motion_only`` are
    the similarities under both, where they are known.
    """
    dense = dense or edges.compare(result.transform, result.forward)
    if global_motion and motion_only is None:
        motion_only = edges.compare(result.transform)
    most = 0.0 if motion_only is None else max(dense.total, motion_only.total)
    if motion_only is None or motion_only.total < UNRELATED or most < LEAST_OF_EITHER:
        same = MeasuredFlow(result.forward, edges.pair.working, result.error, result.error, dense)
        return FusedMatch(result, edges, same, result.backward, dense.total)
    flat_scene = motion_only.total > FLAT_SCENE * dense.total
    weight = _blending_weight(result, dense, motion_only, FLAT_SCENE_MARGIN if flat_scene else MARGIN)
    flow = result.forward * weight[..., None]
    returned = result.way_back(flow)
    global_only = expected_error(returned, result, motion_only)
    error = np.where(weight > 0.5, result.error, global_only).astype(np.float32)
    similarity = edges.compare(result.transform, flow)
    score = similarity.total
    if flat_scene:
        score += FLAT_SCENE_ADVANTAGE * (1.0 - score)
    blended = MeasuredFlow(flow, edges.pair.working, error, returned, similarity)
    return FusedMatch(result, edges, blended, result.backward * weight[..., None], score)


def expected_error(
    returned: Floats, result: MatchResult, similarity: Similarity, *, imposed: bool = False
) -> Floats:
    """Expected error, in working pixels, of a flow of cells that is not the network's.

    ``returned`` is `MatchResult.way_back` of it.

    Either the edges confirm it (1 px where their ``similarity`` is 0.5 and more, 5 px at 0), or the network
    does: both its directions agree, and its way back from the flow's end leads to the start. It can
    contradict a flow that is ``imposed``, not chosen by its edges: where its way back misses by clearly more
    than that of its own flow, the miss is expected.
    """
    cells = result.error.shape[::-1]
    local = cv2.resize(similarity.local(WINDOW), cells)
    by_edges = 1.0 + 4.0 * (1.0 - np.clip(local / 0.5, 0, 1))
    error = np.minimum(by_edges, np.maximum(returned, result.error))
    if imposed:
        error = np.where(returned > result.error + CONTRADICTING_PIXELS, returned, error)
    return np.asarray(error, np.float32)


def full_error(cells: Floats, size: Size, *, worst: float = 10.0) -> Floats:
    """An error of cells on a grid of another size; errors above ``worst`` are not told apart."""
    # Capped first: between a good cell and an infinite one the border of the valid mask would be a staircase.
    resized = cv2.resize(np.minimum(cells, np.float32(worst)), size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def _blending_weight(
    result: MatchResult, dense: Similarity, motion_only: Similarity, margin: float
) -> Floats:
    """``(h, w)`` 0 to 1: share of the network's flow in each cell."""
    # Compared where both show the source: a flow finds something for every pixel, a motion may rightly not.
    both = dense.covered & motion_only.covered
    dense, motion_only = dense.within(both), motion_only.within(both)
    cells = result.error.shape[::-1]
    local = motion_only.local(WINDOW)
    missing = np.clip(1 - local, 0.01, LITTLE_MISSING) / LITTLE_MISSING
    advantage = cv2.resize((dense.local(WINDOW) - local) / missing, cells) - margin
    counted = result.counted
    trusted = _averaged(np.exp(-((result.error / (2 * CONSISTENT)) ** 2)), 20 / result.stride, counted)
    by_edges = 1.0 / (1.0 + np.exp(-np.clip(advantage / STEEPNESS, -30, 30)))
    if motion_only.total < EXPLAINED * dense.total:
        # Edges cannot tell a small motion from none; where both directions agree on it, it is real.
        by_edges = np.maximum(by_edges, np.linalg.norm(result.forward, axis=2) < SMALL)
    return _averaged(by_edges * trusted, 28 / result.stride, counted)


def _averaged(values: Array, width: float, counted: Mask) -> Floats:
    """Means over square windows of an odd number of cells, about ``width``, of the cells that count."""
    side = 2 * int(width / 2) + 1
    above = cv2.blur(np.where(counted, values, 0).astype(np.float32), (side, side))
    below = cv2.blur(counted.astype(np.float32), (side, side))
    return np.asarray(above / np.maximum(below, 1e-6), np.float32)
