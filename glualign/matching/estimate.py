"""From a pair to the best hypothesis about it: matches under global motions, compared by edge similarity."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glualign.errors import FlowError
from glualign.flow import Flow, TransformModel, fit_transform
from glualign.geometry import Matrix, keypoint_transform, resizing_matrix
from glualign.matching.coarse_motion import find_coarse_motion
from glualign.matching.fusion import LEAST, FusedMatch, fuse
from glualign.matching.options import AlignOptions
from glualign.matching.pair import MatchResult, PairMatcher, change_transform, match_resized
from glualign.matching.similarity import EdgeSimilarity

VISIBLE = 0.02
"""Share of the longer side by which two global motions must differ at a corner to be matched one by one."""
CONVINCING = 0.25
"""Edge similarity below which the homography through key points is tried, too: two pairs of homogr that were
lost had 0.19 and 0.21."""
TRUSTED = 2.0
"""Working pixels of forward-backward error below which a cell votes on the global motion."""
INLIER = 1.2
"""Working pixels around the transform within which a vote supports it."""
SUPPORT: dict[TransformModel, float] = {"homography": 0.25, "affine": 0.2, "similarity": 0.15}
"""Models in the order they are tried, and the share of votes that must support each."""
FEWEST_VOTES = 384
"""Working pixels whose cells must vote."""


def first_matches(pairs: Sequence[PairMatcher], options: AlignOptions) -> list[MatchResult]:
    """The first match of pairs of one working size, each under the motion that its coarse features support.

    Without a search, the published networks run their published forward pass alone.
    """
    found: dict[int, MatchResult] = {}
    still = []
    for index, pair in enumerate(pairs):
        motion = None
        if options.search or not pair.predictor.config.published:
            motion = find_coarse_motion(pair, search=options.search, mirror=options.mirror).transform
        if motion is None:
            still.append(index)
        else:
            found[index] = pair.match_transformed(motion)
    if still:
        found |= dict(zip(still, match_resized([pairs[index] for index in still]), strict=True))
    return [found[index] for index in range(len(pairs))]


def estimate(
    pair: PairMatcher, edges: EdgeSimilarity, options: AlignOptions, first: MatchResult
) -> FusedMatch:
    """The best of the first match and those that follow it, and of one from key points where edges disagree.

    Args:
        pair: the pair.
        edges: of the pair.
        options: how much to try.
        first: from `first_matches`.
    """
    best = _followed(pair, edges, options, first)
    if options.search and best.similarity < CONVINCING:
        homography = keypoint_transform(pair.source_pixels, pair.target_pixels)
        if homography is not None:
            transform = np.asarray(homography @ np.linalg.inv(pair.from_target), np.float64)
            best = max(
                best, _followed(pair, edges, options, pair.match_transformed(transform)), key=_by_score
            )
    return best


def _followed(
    pair: PairMatcher, edges: EdgeSimilarity, options: AlignOptions, result: MatchResult
) -> FusedMatch:
    """A match, or its flow on top of the global motion that it supports.

    Matched again under that motion only where it differs visibly from that of the match: on nine pairs of
    other modality, where it does not, the second match was never chosen.
    """
    best = fuse(result, edges, global_motion=options.fuse_global_motion)
    for step in range(1 + options.global_motion_steps if options.fuse_global_motion else 0):
        transform = fit_global_motion(result)
        if transform is None or edges.compare(transform).total <= LEAST:
            break
        if step:
            if pair.corner_distance(result.transform, transform) < VISIBLE * max(pair.working):
                break
            result = pair.match_transformed(transform)
            best = max(best, fuse(result, edges), key=_by_score)
            transform = fit_global_motion(result)
        if transform is not None:
            best = max(best, fuse(change_transform(pair, result, transform), edges), key=_by_score)
    return best


def fit_global_motion(result: MatchResult) -> Matrix | None:
    """The transform, working pixel -> full-size source, through the trusted cells of a match.

    A homography when enough cells support it, else an affine map, else a similarity; None without support.
    """
    trusted = result.error < TRUSTED
    if trusted.sum() * result.stride**2 < FEWEST_VOTES:
        return None
    cells = Flow(result.forward / np.float32(result.stride))
    size = cells.size
    to_cells = resizing_matrix((size[0] * result.stride, size[1] * result.stride), size)
    for model, least in SUPPORT.items():
        try:
            fit = fit_transform(cells, model, trusted, threshold=INLIER / result.stride, max_points=4000)
        except FlowError:
            continue
        if fit.inlier_share >= least:
            within = np.linalg.inv(to_cells) @ fit.matrix @ to_cells
            return np.asarray(result.transform @ within, np.float64)
    return None


def _by_score(match: FusedMatch) -> float:
    return match.score
