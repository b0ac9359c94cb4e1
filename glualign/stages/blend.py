"""Where to believe the network's flow and where the global transform it was seen through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from glualign.geometry import Field
from glualign.stages.evidence import Evidence, Judge
from glualign.stages.passes import AGREEMENT, Pass

WINDOW = 41
"""Side in pixels of the judged image over which edges are compared."""
MARGIN = 0.04
"""Agreement of edges by which the flow must exceed the bare transform to be believed against it."""
FLAT_SCENE = 0.85
"""When the bare transform explains this share of what the flow explains, the scene is nearly flat ..."""
FLAT_SCENE_MARGIN = 0.15
"""... and a flow that explains a few more has likely bent itself to fit them."""
FLAT_SCENE_ADVANTAGE = 0.08
"""Share of what a nearly flat scene's view leaves unexplained that a free flow can explain by bending."""
STEEPNESS = 0.03
LEAST = 0.12
"""Total agreement below which a transform alone is no alternative ..."""
LEAST_OF_FLOW = 0.5
"""... and the share of the flow's agreement that it must reach to be one."""


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """One explanation of a pair: a view of the source and a flow within it.

    Attributes:
        found: the pass that ran in this view.
        flow: ``(h, w, 2)`` float32 cells, the pass's flow or the bare view (zero) where that is better.
        backward: ``(h, w, 2)`` float32 cells, the same for the view -> target.
        error: ``(h, w)`` float32, expected error in working pixels.
        evidence: agreement of edges over the target, about 0 for unrelated images.
        rank: the evidence by which hypotheses are compared. A free flow bends itself to fit edges, so one
            that explains no more than the view of a nearly flat scene ranks behind it.
    """

    found: Pass
    flow: Field
    backward: Field
    error: npt.NDArray[np.float32]
    evidence: float
    rank: float


def weigh(found: Pass, judge: Judge, *, fallback: bool) -> Hypothesis:
    """Blend a pass's flow with its bare view by local evidence; without ``fallback`` leave it as it is."""
    dense = judge.look(found.transform, found.flow)
    bare = judge.look(found.transform)
    if not fallback or bare.total < max(LEAST, LEAST_OF_FLOW * dense.total):
        return Hypothesis(found, found.flow, found.backward, found.error, dense.total, dense.total)
    cells = found.flow.shape[1], found.flow.shape[0]
    flat_scene = bare.total > FLAT_SCENE * dense.total
    believed = _believed(found, dense, bare, cells, FLAT_SCENE_MARGIN if flat_scene else MARGIN)
    flow = found.flow * believed[..., None]
    # What the bare view is good for is told by how well edges agree in it: 1 px where perfectly, 5 where not.
    view_error = 1.0 + 4.0 * (1.0 - np.clip(cv2.resize(bare.local(WINDOW), cells) / 0.5, 0, 1))
    # Where the view ends is decided at full size, by whether a pixel's position lies in the source.
    error = np.where(believed > 0.5, found.error, view_error).astype(np.float32)
    total = judge.look(found.transform, flow).total
    backward = found.backward * believed[..., None]
    rank = total + FLAT_SCENE_ADVANTAGE * (1.0 - total) if flat_scene else total
    return Hypothesis(found, flow, backward, error, total, rank)


def _believed(
    found: Pass, dense: Evidence, bare: Evidence, cells: tuple[int, int], margin: float
) -> npt.NDArray[np.float32]:
    """``(h, w)`` 0 to 1: share of the network's flow to take in each cell."""
    # Compared where both show the source: a flow finds something for every pixel, a view may rightly not.
    both = dense.covered & bare.covered
    dense, bare = dense._replace(covered=both), bare._replace(covered=both)
    advantage = cv2.resize(dense.local(WINDOW) - bare.local(WINDOW), cells) - margin
    trusted = _averaged(np.exp(-((found.error / (2 * AGREEMENT)) ** 2)), 20 / found.stride)
    by_edges = 1.0 / (1.0 + np.exp(-np.clip(advantage / STEEPNESS, -30, 30)))
    return _averaged(by_edges * trusted, 28 / found.stride)


def _averaged(values: npt.NDArray[np.floating[Any]], width: float) -> npt.NDArray[np.float32]:
    """Means over square windows of an odd number of cells, about ``width``."""
    side = 2 * int(width / 2) + 1
    return np.asarray(cv2.blur(values.astype(np.float32), (side, side)), np.float32)
