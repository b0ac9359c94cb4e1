"""From a pair to the best hypothesis about it: matches under global motions, compared by edge similarity."""

from __future__ import annotations

from collections.abc import Iterator

from glualign.matching.fusion import LEAST, FusedMatch, fuse
from glualign.matching.global_motion import fit_global_motion, start_transforms, undo_global_motion
from glualign.matching.options import AlignOptions
from glualign.matching.pair import MatchResult, PairMatcher
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
    best: FusedMatch | None = None
    for start, steps in _starts(pair, options, first):
        for fused in _improved(pair, edges, options, start, steps):
            if best is None or fused.score > best.score:
                best = fused
        if best is not None and options.search == "auto" and best.similarity >= CONVINCING:
            break
    assert best is not None
    return best


def _starts(
    pair: PairMatcher, options: AlignOptions, first: MatchResult
) -> Iterator[tuple[MatchResult, int]]:
    """The matches to start from, and how many may follow each."""
    yield first, options.passes
    if options.search != "off":
        for transform, rough in start_transforms(pair, mirror=options.mirror):
            yield pair.match_transformed(transform), max(options.passes, int(rough))


def _improved(
    pair: PairMatcher, edges: EdgeSimilarity, options: AlignOptions, first: MatchResult, steps: int
) -> Iterator[FusedMatch]:
    """A match, the best of those that follow it, and one under the global motion that this one supports."""
    yield fuse(first, edges, global_motion=options.fallback)
    if not steps:
        return
    found = undo_global_motion(pair, first, steps)
    if found is not first:
        yield fuse(found, edges, global_motion=options.fallback)
    transform = fit_global_motion(found) if options.fallback else None
    if transform is not None and edges.compare(transform).total > LEAST:
        yield fuse(pair.match_transformed(transform), edges)
