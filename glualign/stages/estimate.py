"""From a pair to its best explanation: passes, search, and the evidence that decides between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from glualign.geometry import Matrix, keypoint_transform
from glualign.stages.blend import LEAST, Hypothesis, weigh
from glualign.stages.coarse_to_fine import iterate, next_transform
from glualign.stages.evidence import Judge
from glualign.stages.passes import Pass, PassRunner
from glualign.stages.search import search

Search = Literal["off", "auto", "full"]

CONVINCING = 0.45
"""Agreement of edges from which a motion counts as found."""
CANDIDATES = 2
"""Views of the search that are tried at full working resolution."""


@dataclass(frozen=True)
class Effort:
    """How much to try.

    Attributes:
        passes: most passes after the first in any view.
        search: whether to look for large motions: never, while nothing convinces, or always.
        fallback: believe the bare view where it explains the target better than the flow.
        mirror: also try the source mirrored.
    """

    passes: int = 1
    search: Search = "auto"
    fallback: bool = True
    mirror: bool = False


def estimate(runner: PassRunner, effort: Effort, first: Pass | None = None) -> Hypothesis:
    """The hypothesis with the strongest evidence among those the effort allows.

    Args:
        runner: of the pair.
        effort: how much to try.
        first: the published forward pass, where it has been computed already.
    """
    judge = Judge(runner)
    best: Hypothesis | None = None
    for starting, passes in _starts(runner, effort, first):
        for hypothesis in _followed(runner, judge, effort, starting, passes):
            if best is None or hypothesis.rank > best.rank:
                best = hypothesis
        if best is not None and effort.search == "auto" and best.evidence >= CONVINCING:
            break
    assert best is not None
    return best


def _starts(runner: PassRunner, effort: Effort, first: Pass | None) -> Iterator[tuple[Pass, int]]:
    """First passes, cheapest first: the published one, then what key points and the coarse search suggest."""
    yield first or runner.plain(), effort.passes
    if effort.search == "off":
        return
    seen = keypoint_transform(runner.source_pixels, runner.target_pixels)
    if seen is not None:
        view = np.asarray(seen @ np.linalg.inv(runner.from_target), np.float64)
        yield runner.transformed(view), effort.passes
    for candidate in search(runner, mirror=effort.mirror)[:CANDIDATES]:
        yield runner.transformed(candidate.transform), max(1, effort.passes)


def _followed(
    runner: PassRunner, judge: Judge, effort: Effort, first: Pass, passes: int
) -> Iterator[Hypothesis]:
    """A first pass, the best of the passes that follow it, and a last one in the view they lead to."""
    yield weigh(first, judge, fallback=effort.fallback)
    if not passes:
        return
    found = iterate(runner, first, passes)
    if found is not first:
        yield weigh(found, judge, fallback=effort.fallback)
    transform: Matrix | None = next_transform(found) if effort.fallback else None
    if transform is not None and judge.look(transform).total > LEAST:
        yield weigh(runner.transformed(transform), judge, fallback=True)
