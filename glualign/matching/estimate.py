"""From a pair to the best hypothesis about it: matches under global motions, compared by edge similarity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from glualign.geometry import Matrix, apply_transform
from glualign.matching.coarse_motion import find_coarse_motion
from glualign.matching.fusion import LEAST, FusedMatch, fuse
from glualign.matching.global_motion import fit_global_motion, start_transforms, undo_global_motion
from glualign.matching.options import AlignOptions
from glualign.matching.pair import MatchResult, PairMatcher, change_transform, match_resized
from glualign.matching.similarity import EdgeSimilarity

VISIBLE = 0.02
"""Share of the longer side by which two global motions must differ at a corner to be matched one by one."""
CONVINCING = 0.45
"""Edge similarity from which a motion counts as found."""


def estimate(
    pair: PairMatcher, edges: EdgeSimilarity, options: AlignOptions, first: MatchResult
) -> FusedMatch:
    """The hypothesis of the highest score among those that the options allow.

    Args:
        pair: the pair.
        edges: of the pair.
        options: how much to try.
        first: the published forward pass.
    """
    if pair.predictor.config.pretrained:
        return _refined_motion(pair, edges, options, first)
    best: FusedMatch | None = None
    for start, steps in _starts(pair, options, first):
        for fused in _improved(pair, edges, options, start, steps):
            if best is None or fused.score > best.score:
                best = fused
        if best is not None and options.search == "auto" and best.similarity >= CONVINCING:
            break
    assert best is not None
    return best


def first_matches(pairs: Sequence[PairMatcher], options: AlignOptions) -> list[MatchResult]:
    """The first match of pairs of one working size.

    The published forward pass; with a pretrained backbone, under the global motion that the coarse features
    support.
    """
    if not pairs[0].predictor.config.pretrained:
        return match_resized(pairs)
    found: dict[int, MatchResult] = {}
    still = []
    for index, pair in enumerate(pairs):
        motion = find_coarse_motion(pair, search=options.search != "off", mirror=options.mirror)
        if motion.transform is None:
            still.append(index)
        else:
            found[index] = pair.match_transformed(motion.transform)
    if still:
        found |= dict(zip(still, match_resized([pairs[index] for index in still]), strict=True))
    return [found[index] for index in range(len(pairs))]


def _refined_motion(
    pair: PairMatcher, edges: EdgeSimilarity, options: AlignOptions, first: MatchResult
) -> FusedMatch:
    """The first match, or its flow on top of the global motion that it supports.

    Matched again under that motion only where it differs visibly from that of the first match: on nine pairs
    of other modality, where it does not, the second match was never chosen.
    """
    best = fuse(first, edges, global_motion=options.fuse_global_motion)
    result = first
    for step in range(1 + options.global_motion_steps if options.fuse_global_motion else 0):
        transform = fit_global_motion(result)
        if transform is None or edges.compare(transform).total <= LEAST:
            break
        if step:
            if _corner_distance(pair, result.transform, transform) < VISIBLE * max(pair.working):
                break
            result = pair.match_transformed(transform)
            best = max(best, fuse(result, edges), key=_by_score)
            transform = fit_global_motion(result)
        if transform is not None:
            best = max(best, fuse(change_transform(pair, result, transform), edges), key=_by_score)
    return best


def _by_score(match: FusedMatch) -> float:
    return match.score


def _corner_distance(pair: PairMatcher, first: Matrix, second: Matrix) -> float:
    """How far apart, in working pixels, two transforms put a corner of the frame at most."""
    bottom, right = (side - 1.0 for side in pair.working)
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]])
    apart = apply_transform(np.asarray(np.linalg.inv(first) @ second, np.float64), corners) - corners
    return float(np.nan_to_num(np.linalg.norm(apart, axis=1), nan=np.inf).max())


def _starts(
    pair: PairMatcher, options: AlignOptions, first: MatchResult
) -> Iterator[tuple[MatchResult, int]]:
    """The matches to start from, and how many may follow each."""
    yield first, options.global_motion_steps
    if options.search != "off":
        for transform, rough in start_transforms(pair, mirror=options.mirror):
            yield pair.match_transformed(transform), max(options.global_motion_steps, int(rough))


def _improved(
    pair: PairMatcher, edges: EdgeSimilarity, options: AlignOptions, first: MatchResult, steps: int
) -> Iterator[FusedMatch]:
    """A match, the best of those that follow it, and one under the global motion that this one supports."""
    yield fuse(first, edges, global_motion=options.fuse_global_motion)
    if not steps:
        return
    found = undo_global_motion(pair, first, steps)
    if found is not first:
        yield fuse(found, edges, global_motion=options.fuse_global_motion)
    transform = fit_global_motion(found) if options.fuse_global_motion else None
    if transform is not None and edges.compare(transform).total > LEAST:
        yield fuse(pair.match_transformed(transform), edges)
