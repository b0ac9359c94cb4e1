"""From a pair to the best hypothesis about it: matches under global motions, compared by edge similarity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from glualign.matching.coarse_motion import find_coarse_motion
from glualign.matching.fusion import LEAST, FusedMatch, fuse
from glualign.matching.global_motion import fit_global_motion, start_transforms, undo_global_motion
from glualign.matching.options import AlignOptions
from glualign.matching.pair import MatchResult, PairMatcher, change_transform, match_resized
from glualign.matching.similarity import EdgeSimilarity

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

    Matching again under that motion costs as much as the first match, and its result was never chosen on nine
    pairs of other modality.
    """
    best = fuse(first, edges, global_motion=options.fuse_global_motion)
    transform = fit_global_motion(first) if options.fuse_global_motion else None
    if transform is not None and edges.compare(transform).total > LEAST:
        other = fuse(change_transform(pair, first, transform), edges)
        if other.score > best.score:
            return other
    return best


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
