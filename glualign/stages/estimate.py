"""From a pair to its best explanation: passes, search, and the evidence that decides between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from glualign.stages.blend import Hypothesis, weigh
from glualign.stages.coarse_to_fine import iterate, next_transform
from glualign.stages.evidence import Judge
from glualign.stages.geometry import Matrix
from glualign.stages.keypoints import keypoint_transform
from glualign.stages.passes import PassRunner
from glualign.stages.search import search

Search = Literal["off", "auto", "full"]

CONVINCING = 0.45
"""Agreement of edges, and of both directions of the flow, from which no search is needed."""
CANDIDATES = 2
"""Views of the search that are tried at full working resolution."""


@dataclass(frozen=True)
class Effort:
    """How much to try.

    Attributes:
        passes: most passes after the first in any view.
        search: whether to look for large motions: never, when the plain passes do not convince, or always.
        fallback: believe the bare view where it explains the target better than the flow.
        mirror: also try the source mirrored.
    """

    passes: int = 1
    search: Search = "auto"
    fallback: bool = True
    mirror: bool = False


def estimate(runner: PassRunner, effort: Effort) -> Hypothesis:
    """The hypothesis with the strongest evidence among those the effort allows."""
    judge = Judge(runner)
    best = _better(_plain(runner, judge, effort))
    unsure = best.evidence < CONVINCING or best.found.score < CONVINCING
    if effort.search == "full" or (effort.search == "auto" and unsure):
        best = _better([best, *_searched(runner, judge, effort)])
    return best


def _plain(runner: PassRunner, judge: Judge, effort: Effort) -> Iterator[Hypothesis]:
    """The published forward pass and what follows from it."""
    first = runner.plain()
    found = iterate(runner, first, effort.passes)
    yield weigh(found, judge, fallback=effort.fallback)
    if effort.passes:
        yield from _final(runner, judge, effort, next_transform(found))


def _searched(runner: PassRunner, judge: Judge, effort: Effort) -> Iterator[Hypothesis]:
    """Views that key points and the coarse stage suggest."""
    from_working = np.linalg.inv(runner.from_target)
    seen = keypoint_transform(runner.source_pixels, runner.target_pixels)
    views: list[Matrix] = [] if seen is None else [np.asarray(seen @ from_working, np.float64)]
    views += [view.transform for view in search(runner, mirror=effort.mirror)[:CANDIDATES]]
    for transform in views:
        found = iterate(runner, runner.transformed(transform), effort.passes)
        yield weigh(found, judge, fallback=effort.fallback)
        yield from _final(runner, judge, effort, next_transform(found))
        if found.transform is not transform:
            yield from _final(runner, judge, effort, transform)


def _final(
    runner: PassRunner, judge: Judge, effort: Effort, transform: Matrix | None
) -> Iterator[Hypothesis]:
    """A transform as a view of its own, if its edges agree at all."""
    if transform is None or not effort.fallback or judge.look(transform).total < 0.1:
        return
    yield weigh(runner.transformed(transform), judge, fallback=True)


def _better(hypotheses: Iterator[Hypothesis] | list[Hypothesis]) -> Hypothesis:
    return max(hypotheses, key=lambda hypothesis: hypothesis.evidence)
