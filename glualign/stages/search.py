"""Search over orientation and scale: the 16 x 16 stage is cheap, so it may look at a pair in many ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from glualign.geometry import Matrix, resizing_matrix, rotation_scale_matrix
from glualign.network.config import COARSE_SIZE
from glualign.stages.passes import PassRunner, agreement, disagreement

ANGLES = tuple(range(0, 360, 45))
ZOOMS = (1.0, 0.5, 2.0)
"""Source pixels per target pixel, relative to the plain view."""
COARSE_AGREEMENT = 4.0
"""Pixels of 256 x 256 at which a coarse cell counts about a third."""

_FRAME = (COARSE_SIZE, COARSE_SIZE)


@dataclass(frozen=True, eq=False)
class View:
    """One way to look at the source.

    Attributes:
        transform: working pixel of the target -> full-size source pixel.
        degrees: clockwise rotation of the view against the source.
        zoom: source pixels per target pixel, relative to the plain view.
        mirrored: left and right exchanged.
        score: how well both directions of the coarse flow agree, 0 to 1.
    """

    transform: Matrix
    degrees: float
    zoom: float
    mirrored: bool
    score: float


def search(runner: PassRunner, *, mirror: bool = False) -> list[View]:
    """Score the source at every angle and zoom (and mirrored, when asked); best first.

    A view agrees with the target where the coarse flow leads forth and back to the same place.
    """
    views: list[View] = []
    for mirrored in (False, True) if mirror else (False,):
        for zoom in ZOOMS:
            views += _scored(runner, zoom, mirrored)
    return sorted(views, key=lambda view: -view.score)


def _scored(runner: PassRunner, zoom: float, mirrored: bool) -> list[View]:
    """The views at every angle, matched as one batch."""
    to_working = resizing_matrix(_FRAME, runner.working)
    transforms = [
        rotation_scale_matrix(
            runner.working, runner.source_size, degrees=degrees, scale=zoom, mirror=mirrored
        )
        for degrees in ANGLES
    ]
    shown = [runner.view(np.asarray(transform @ to_working, np.float64), _FRAME) for transform in transforms]
    forward, backward = runner.matcher.match_coarse_both_ways(
        runner.matcher.encode_coarse_many([image for image, _ in shown]), runner.target.features.coarse
    )
    views = []
    for degrees, transform, (_, exists), there, back in zip(
        ANGLES, transforms, shown, forward, backward, strict=True
    ):
        error = disagreement(there, back, stride=COARSE_SIZE // there.shape[0], exists=exists)
        views.append(View(transform, degrees, zoom, mirrored, agreement(error, COARSE_AGREEMENT)))
    return views
