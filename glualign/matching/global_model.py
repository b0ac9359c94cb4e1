"""The simplest global model that explains a pair as well as its flow does, as exactly as its edges tell.

A model is as exact as the flow that it was fitted to. Windows of gradient directions, compared in all
displacements of a few pixels, hold more: the model goes where their scores together are highest. No window
has to find its own best place, which many cannot across modalities.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from glualign.arrays import Bytes, Doubles, Field, Floats, Matrix, Points
from glualign.errors import FlowError
from glualign.flow import Fit, TransformModel, fit_drawn
from glualign.geometry import apply_transform, corner_motion, inverse, resizing_matrix, size_of
from glualign.geometry.mean_shift import shift_model
from glualign.images import reduce_image
from glualign.matching.estimate import EXPLAINED, FusedMatch, MeasuredFlow, draw_cells
from glualign.matching.pair import PairMatcher
from glualign.matching.similarity import BORDER, UNRELATED, Similarity, edge_directions

MODELS: tuple[TransformModel, ...] = ("similarity", "affine", "homography")
FEWEST_INLIERS = 1 / 3
"""Share of the trusted flow that a model must explain to be one at all."""
LEAST_RATIO_TO_MOVE = 0.9
"""Share of the flow's edge similarity that a model must reach to be worth moving; set, not tuned, as are the
sizes below without a measurement."""
LEAST_RATIO_MOVED = 1.001
"""Times its edge similarity as fitted that a model must have where it is moved to. With 1 a pair by day and
night that is aligned already, multimodal_daynight/VisionDN1, is moved by half a pixel."""
AREA = 21
"""Side in pixels, at the compared size, of the window in which the flow may contradict the model."""
CONTRADICTING_SIMILARITY = 0.25
"""Local edge similarity by which the flow must exceed the model's to contradict it ..."""
FEWEST_CONTRADICTING = 0.005
"""... and the share of the frame in which it must do so: something moves by itself there."""
APART = 4.0
"""Working pixels from the homography at which a part of the flow may move otherwise; 3 px give the same."""
PART_MARGIN = 0.15
"""Edge similarity by which the flow of such a part must exceed the homography's. On all public pairs but the
graffiti wall and two more nothing changes; there the median falls from 1.67 to 1.30 px, PCK-1 rises by 16."""
SMALLEST_PART = 0.001
"""Share of the frame of such a part; set, not tuned."""
LONGER_SIDE = 640
"""Pixels at which images are compared."""
WINDOWS = 300
"""Compared at most, one of each part of the frame."""
RADIUS = 8
"""Of a window, in pixels: 8, 12 and 20 leave 1.02, 1.04 and 1.04 px (geometric mean) of what aligned training
pairs were disturbed by (benchmarks/registration.py)."""
FEWEST_WINDOWS = 12
"""Windows that can say anything about a model."""
ROUNDS = ((8, (4.0, 2.0, 1.0)), (4, (1.5, 0.8)))
"""Reach of the displacements in pixels, and the widths of the mean shift; the source is warped anew."""
SETTLED = 2.0
"""Pixels of motion of the corners below which the source is not warped anew; with 0 as much is left of the
same pairs, in two thirds more time where the model was right already."""
TEXTURE = 0.02
"""Mean squared length of the gradient vectors (0 to 1) below which a window shows nothing."""


class Explained(NamedTuple):
    """A global model, full-size target -> source, that explains a pair, and the edge similarity under it.

    Where parts of the frame move otherwise, ``flow`` is that of the model and of these parts, ``(h, w, 2)``
    cells in working pixels.
    """

    model: TransformModel
    fit: Fit
    similarity: Similarity
    flow: Field | None = None


def simplest_model(measured: MeasuredFlow, weights: Floats, best: FusedMatch) -> Explained | None:
    """A global model that shows the target's edges as well as the flow does, everywhere; None without one.

    Each model is tried as it fits the flow or, where that nearly explains the pair and edges agree better
    then, as `register` moves it; then the homography with parts that move otherwise.

    Args:
        measured: a flow of the pair, that of the hypothesis or its refinement.
        weights: ``(h, w)``, the confidence of its cells.
        best: the hypothesis that the flow is of.
    """
    # Compared with the hypothesis, also where the model is fitted to its refinement.
    edges, dense = best.edges, best.measured.similarity
    pair, frame = edges.pair, measured.frame
    from_working = inverse(pair.from_target)
    target, there = draw_cells(measured.flow, frame, weights)
    target = apply_transform(resizing_matrix(frame, pair.target_size), target)
    source = apply_transform(best.result.transform @ resizing_matrix(frame, pair.working), there)
    # Edges that hardly agree explain nothing.
    for model in MODELS if dense.total >= UNRELATED else ():
        try:
            fit = fit_drawn(target, source, model, pair.target_size)
        except FlowError:
            continue
        if fit.inlier_share < FEWEST_INLIERS:
            continue
        shown = edges.compare(fit.matrix @ from_working)
        if shown.total >= LEAST_RATIO_TO_MOVE * dense.total:
            moved = register(pair, fit.matrix, model)
            found = edges.compare(moved @ from_working)
            if found.total > LEAST_RATIO_MOVED * shown.total:
                fit, shown = fit._replace(matrix=moved), found
        if explains(shown, dense):
            return Explained(model, fit, shown)
        # Not beside a refined flow, which is on another grid.
        if model == "homography" and measured is best.measured:
            plane = pair.on_cells(fit.matrix, best.result.transform, best.result.centres)
            if (flow := flow_beside(plane, measured.flow, shown, dense)) is not None:
                return Explained(model, fit, shown, flow)
    return None


def flow_beside(plane: Field, flow: Field, model: Similarity, dense: Similarity) -> Field | None:
    """The flow of a plane, and that of the parts that move otherwise; None if that does not explain the pair.

    A part is connected, `APART` from the plane, and right as its edges show. ``plane`` and ``flow`` are
    ``(h, w, 2)`` cells in working pixels, ``model`` and ``dense`` the similarities under them.
    """
    size = dense.covered.shape[::-1]
    apart = (np.linalg.norm(flow - plane, axis=2) > APART).astype(np.float32)
    apart = (cv2.resize(apart, size, interpolation=cv2.INTER_AREA) > 0.5) & dense.covered
    count, labels, figures, _ = cv2.connectedComponentsWithStats(apart.astype(np.uint8))
    moving = np.zeros_like(dense.covered)
    for part in range(1, count):
        if figures[part, cv2.CC_STAT_AREA] >= SMALLEST_PART * apart.size:
            # With the edges around it.
            here = cv2.dilate((labels == part).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
            if dense.within(here).total > model.within(here).total + PART_MARGIN:
                moving |= here
    if not explains(model.within(~moving), dense.within(~moving)):
        return None
    share = cv2.resize(cv2.blur(moving.astype(np.float32), (5, 5)), plane.shape[1::-1])[..., None]
    return np.asarray(plane + share * (flow - plane), np.float32)


def explains(model: Similarity, dense: Similarity) -> bool:
    """Whether a model shows the edges as well as a flow, in all and in every part of the frame."""
    both = dense.covered & model.covered
    model, dense = model.within(both), dense.within(both)
    if model.total < EXPLAINED * dense.total:
        return False
    contradicted = both & (dense.local(AREA) > model.local(AREA) + CONTRADICTING_SIMILARITY)
    return bool(contradicted.mean() < FEWEST_CONTRADICTING)


def register(pair: PairMatcher, matrix: Matrix, model: TransformModel) -> Matrix:
    """The transform of the same kind near ``matrix``, full-size target -> source, that edges support best.

    ``matrix`` itself where fewer than `FEWEST_WINDOWS` windows show texture.
    """
    target = np.dstack(edge_directions(reduce_image(pair.target_pixels, LONGER_SIDE)))
    size = size_of(target)
    to_full = resizing_matrix(size, pair.target_size)
    found = matrix @ to_full
    for reach, widths in ROUNDS:
        area = pair.source_area(found, size).astype(np.uint8)
        inner = np.asarray(cv2.erode(area, np.ones((BORDER, BORDER)), borderValue=0), np.uint8)
        source = np.dstack(edge_directions(pair.warp_source(found, size))) * inner[..., None]
        centres, scores = _scores(target, source, inner, reach)
        if len(centres) < FEWEST_WINDOWS:
            return matrix
        motion = shift_model(centres, scores, model, size, widths)
        found = found @ motion
        if corner_motion(motion, size) < SETTLED:
            break
    result = found @ inverse(to_full)
    return np.asarray(result / result[2, 2], np.float64)


def _scores(target: Floats, source: Floats, exists: Bytes, reach: int) -> tuple[Points, Doubles]:
    """Centres ``(N, 2)`` of the most textured windows, one of each part of the frame, and their correlations.

    ``(N, 2 reach + 1, 2 reach + 1)``: by displacement y, then x.
    """
    height, width = exists.shape
    side, margin = 2 * RADIUS + 1, RADIUS + reach
    texture = cv2.boxFilter(np.einsum("hwc,hwc->hw", target, target), -1, (side, side))
    texture = texture * cv2.erode(exists, np.ones((side, side), np.uint8), borderValue=0)
    step = max(8, int(np.sqrt(max(0, height - 2 * margin) * max(0, width - 2 * margin) / WINDOWS)))
    centres, scores = [], []
    for top in range(margin, height - margin, step):
        for left in range(margin, width - margin, step):
            part = texture[top : min(top + step, height - margin), left : min(left + step, width - margin)]
            _, most, _, (right, down) = cv2.minMaxLoc(part)
            if most < TEXTURE:
                continue
            y, x = top + down, left + right
            window = target[y - RADIUS : y + RADIUS + 1, x - RADIUS : x + RADIUS + 1]
            around = source[y - margin : y + margin + 1, x - margin : x + margin + 1]
            centres.append((x, y))
            scores.append(cv2.matchTemplate(around, window, cv2.TM_CCORR_NORMED))
    return np.array(centres, np.float64).reshape(-1, 2), np.array(scores, np.float64)
