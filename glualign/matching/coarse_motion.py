"""The global motion of a pair from its coarse features, before any match at the working resolution.

The similarities of all 16 x 16 cells of both images give mutual matches. The score of a hypothesis is how
unlikely it is that so many of them agree with one affine map by chance. The source is tried as it is, then
rotated and at other scales where that says little; each is warped by the map that was found for as long as
the score rises. Where it could be chance, 32 x 32 cells of images twice as large decide. Only then does the
network match at the working resolution, once.
"""

from __future__ import annotations

import math
from operator import attrgetter
from typing import NamedTuple

import cv2
import numpy as np
from torch import Tensor

from glualign.arrays import Floats, Matrix, Points
from glualign.geometry import (
    apply_transform,
    corner_motion,
    resizing_matrix,
    rotation_scale_matrix,
    sample,
    transform_fault,
)
from glualign.matching.pair import CoarseMotion, PairMatcher, cell_centres
from glualign.network.config import COARSE_SIZE

FRAME = (COARSE_SIZE, COARSE_SIZE)
FINER = (2 * COARSE_SIZE, 2 * COARSE_SIZE)
"""Size at which an image has 32 x 32 cells."""
ROTATIONS = ((90.0, 180.0, 270.0), (45.0, 135.0, 225.0, 315.0))
"""Degrees of the rotation hypotheses, in the batches in which they are tried."""
SCALES = (2.0, 0.5)
"""Source pixels per target pixel, relative to the resized source, of the last hypotheses."""
CHANCE = 0.1
"""Share of the cells that agree with the best map of unrelated images: 0.08 in the median of 46 pairs of
training photographs of different scenes, 0.14 at most in nine of ten (with frozen features alone 0.06 and
0.10)."""
NO_ROTATION_FROM = 150.0
"""Score (137 of 256 cells) from which no rotation is tried: wrong matches of a turned source reach 105 on
homogr/LePoint2."""
NO_SCALE_FROM = 19.0
"""Score (60 of 256 cells) from which no other scale is tried."""
CHECKED_FINER = (NO_SCALE_FROM, NO_ROTATION_FROM)
"""Scores of the source as it is that 32 x 32 cells check: a motion that is 98 px off has 24 on
homogr/LePoint1. Below these the search goes on in any case."""
RECTIFIED_FROM = 2.0
"""Score (36 of 256 cells) of a hypothesis that is worth rectifying."""
REPLACING_RATIO = 1.25
"""A hypothesis replaces the one so far when its score is this many times as high, and `REPLACING_MARGIN`
more; both were set, not tuned."""
REPLACING_MARGIN = 2.0
INLIER_DISTANCE = 11.0
"""Pixels of 256 within which a match agrees with a map: two thirds of a cell. With 8 the motion of `fast` is
right for 87 instead of 83 %, but `balanced` misses one more pair of homogr; with 14 for 78 %
(benchmarks/coarse_motions.py)."""
FEWEST_MATCHES = 8
"""Matches that can say anything about a map."""
LEAST_CORNER_MOTION = 10.0
"""Pixels of 256 that a corner must move for the source to be warped. With 5 and with 13 the motion of `fast`
is right as often; with 5 it takes a quarter longer."""
MOST_RECTIFICATIONS = 3
"""Rectifications at most; with 5 the motion of `fast` is right for 83.2 instead of 82.6 %."""
LEAST_SEEN = 0.05
"""Share of the frame that a warped source must cover."""
INVERSE_TEMPERATURE = 25.0
"""Inverse temperature of the soft-argmax about a match, over `WINDOW` cells to each side."""
WINDOW = 2

BY_SCORE = attrgetter("score")
CENTRES = cell_centres(FRAME, 16).reshape(-1, 2)
"""Of the cells, in pixels of 256."""


class _Hypothesis(NamedTuple):
    """A transform (frame -> full-size source), the motion that the matches under it support, and its score.

    ``level4`` of the warped source is what it was scored by.
    """

    transform: Matrix
    residual: Matrix | None
    score: float
    level4: Tensor


def find_coarse_motion(pair: PairMatcher, *, search: bool = True, mirror: bool = False) -> CoarseMotion:
    """The transform, working pixel -> full-size source, under which the coarse cells of both agree best.

    It is None where that is the source as it is, only resized. Rotations and scales are tried with ``search``
    where too few cells agree; with ``mirror`` the source with left and right exchanged, too. Networks whose
    features are not pretrained run one forward pass alone without a search, as published.
    """
    if not search and not pair.predictor.config.pretrained:
        return CoarseMotion(None)
    plain = resizing_matrix(FRAME, pair.source_size)
    if scored := _score(pair, [plain]):
        best = _rectified(pair, scored[0])
    else:  # nearly all of the source is to be ignored
        cells = pair.predictor.coarse_cells([pair.warp_source(plain, FRAME)])
        best = _Hypothesis(plain, None, 0.0, cells)
    finer = None
    if search and pair.predictor.config.pretrained and CHECKED_FINER[0] <= best.score < CHECKED_FINER[1]:
        finer = pair.predictor.coarse_cells([pair.target_pixels], FINER)
        [best] = _score(pair, [best.transform], finer=finer)
    quarters, eighths = ROTATIONS
    # Angles at one scale, mirrored or not, likeliest first, and the score from which they are not tried.
    batches: list[tuple[tuple[float, ...], float, bool, float]] = []
    if mirror:
        batches += [((0.0, *quarters), 1.0, True, NO_ROTATION_FROM)]
    if search:
        batches += [(quarters, 1.0, False, NO_ROTATION_FROM), (eighths, 1.0, False, NO_ROTATION_FROM)]
        batches += [((0.0, *quarters, *eighths), scale, False, NO_SCALE_FROM) for scale in SCALES]
    to_working, sizes = resizing_matrix(FRAME, pair.working), (pair.working, pair.source_size)
    for angles, scale, mirrored, enough in batches:
        if best.score >= enough:
            break
        turned = (rotation_scale_matrix(*sizes, degrees=a, scale=scale, mirror=mirrored) for a in angles)
        batch = [each @ to_working for each in turned]
        first = max(_score(pair, batch), key=BY_SCORE, default=best)
        if first.score >= RECTIFIED_FROM:
            candidate = _rectified(pair, first)
            if finer is not None:
                [candidate] = _score(pair, [candidate.transform], finer=finer)
            if candidate.score > REPLACING_RATIO * best.score + REPLACING_MARGIN:
                best = candidate
    if best.transform is plain:
        return CoarseMotion(None, best.level4)
    transform = best.transform @ resizing_matrix(pair.working, FRAME)
    return CoarseMotion(transform, best.level4)


def _rectified(pair: PairMatcher, best: _Hypothesis) -> _Hypothesis:
    """The source warped by a residual motion, for as long as that is visible and the score does not fall."""
    for _ in range(MOST_RECTIFICATIONS):
        if best.residual is None or corner_motion(best.residual, FRAME) < LEAST_CORNER_MOTION:
            break
        found = _score(pair, [best.transform @ best.residual])
        if not found or found[0].score < best.score:
            break
        [best] = found
    return best


def _score(pair: PairMatcher, transforms: list[Matrix], *, finer: Tensor | None = None) -> list[_Hypothesis]:
    """The hypotheses of transforms (frame -> source), without those that show too little of the source.

    With the ``finer`` cells of the target they are scored by those, too.
    """
    areas = [(transform, pair.source_area(transform, FRAME)) for transform in transforms]
    shown = [(transform, area) for transform, area in areas if area.mean() >= LEAST_SEEN]
    if not shown:
        return []
    predictor = pair.predictor
    cells = predictor.coarse_cells([pair.warp_source(transform, FRAME) for transform, _ in shown])
    similarities = [predictor.similarities(cells, pair.target.features.coarse.level4)]
    if finer is not None:
        to_frame = resizing_matrix(FINER, FRAME)
        larger = [pair.warp_source(transform @ to_frame, FINER) for transform, _ in shown]
        similarities.append(predictor.similarities(predictor.coarse_cells(larger, FINER), finer))
    found = []
    for index, (transform, area) in enumerate(shown):
        matches = [mutual_matches(each[index]) for each in similarities]
        target, source = (np.concatenate(points) for points in zip(*matches, strict=True))
        shows = sample(area, *source.T) > 0.5
        residual, agreed = fit_motion(target[shows], source[shows])
        agreed /= sum(each.shape[2] for each in similarities) / len(CENTRES)
        # The cells that could agree: those that the motion brings to where the source is.
        there = CENTRES if residual is None else apply_transform(residual, CENTRES)
        visible = (sample(area, *there.T) > 0.5).sum()
        score = significance(agreed, visible)
        found.append(_Hypothesis(transform, residual, score, cells[index : index + 1]))
    return found


def significance(agreed: float, cells: float) -> float:
    """How unlikely it is that so many of so many cells agree by chance: minus the logarithm of a bound.

    The Chernoff bound of the binomial tail, as a-contrario methods use it (Moisan and Stival 2004).
    """
    share = min(agreed / max(cells, 1.0), 1.0)
    if share <= CHANCE:
        return 0.0
    rest = (1 - share) * math.log((1 - share) / (1 - CHANCE)) if share < 1 else 0.0
    return cells * (share * math.log(share / CHANCE) + rest)


def mutual_matches(similarity: Floats) -> tuple[Points, Points]:
    """Target and source positions ``(N, 2)``, in pixels of 256, of cells that are each other's best match.

    ``similarity`` is ``(S, T)``, of the cells of two square grids in row-major order.
    """
    side = int(np.sqrt(len(similarity)))
    cells = np.arange(side * side)
    column, row = cells % side, cells // side
    best = similarity.argmax(axis=0)
    back = similarity.argmax(axis=1)[best]
    mutual = (np.abs(column[back] - column) <= 1) & (np.abs(row[back] - row) <= 1)
    near = (np.abs(column[:, None] - column[best]) <= WINDOW) & (np.abs(row[:, None] - row[best]) <= WINDOW)
    weight = np.where(near, np.exp(INVERSE_TEMPERATURE * (similarity - similarity.max(axis=0))), 0)
    weight /= weight.sum(axis=0)
    cell = COARSE_SIZE / side
    source = np.stack([column @ weight, row @ weight], axis=1)[mutual]
    target = np.stack([column, row], axis=1)[mutual]
    return (target + 0.5) * cell - 0.5, (source + 0.5) * cell - 0.5


def fit_motion(target: Points, source: Points) -> tuple[Matrix | None, float]:
    """The affine map target -> source, where it is plausible, and how many matches ``(N, 2)`` agree with it.

    A homography has more freedom than wrong matches of 16 x 16 cells deserve: with one beside the affine map
    (and `LEAST_CORNER_MOTION` 5) the motion of `fast` was right for 80 instead of 85 %, of `balanced` for 86
    instead of 90 %.
    """
    if len(target) < FEWEST_MATCHES:
        return None, 0.0
    linear, inliers = cv2.estimateAffine2D(
        target, source, method=cv2.RANSAC, ransacReprojThreshold=INLIER_DISTANCE
    )
    if linear is None:
        return None, 0.0
    affine = np.vstack([linear, [0.0, 0.0, 1.0]])
    if transform_fault(affine, FRAME, mirror=False) is not None:
        return None, 0.0
    return affine, float(inliers.sum())
