"""The global motion of a pair: hypotheses to start from, and the transform that a match supports.

This step alone searches for large motions: `start_transforms` proposes, `undo_global_motion` improves.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from glualign.errors import FlowError
from glualign.flow import Flow, TransformModel, fit_transform
from glualign.geometry import Matrix, keypoint_transform, resizing_matrix, rotation_scale_matrix
from glualign.matching.pair import MatchResult, PairMatcher, consistency, forward_backward_error
from glualign.network.config import COARSE_SIZE

ANGLES = tuple(range(0, 360, 45))
SCALES = (1.0, 0.5, 2.0)
"""Source pixels per target pixel, relative to the resized source."""
COARSE_CONSISTENT = 4.0
"""Pixels of 256 x 256 of forward-backward error at which a coarse cell's consistency is 1/e."""
CANDIDATES = 2
"""Rotation / scale hypotheses that are tried at full working resolution."""

TRUSTED = 2.0
"""Working pixels of forward-backward error below which a cell votes on the global motion."""
INLIER = 1.2
"""Working pixels around the transform within which a vote supports it."""
SUPPORT: dict[TransformModel, float] = {"homography": 0.25, "affine": 0.2, "similarity": 0.15}
"""Models in the order they are tried, and the share of votes that must support each."""
FEWEST_VOTES = 384
"""Working pixels whose cells must vote."""
GAIN = 1.002
"""A match replaces the best one when its consistency is this many times as high."""


def start_transforms(pair: PairMatcher, *, mirror: bool) -> Iterator[tuple[Matrix, bool]]:
    """Transforms (working pixel -> full-size source) to match under, cheapest first.

    First the homography through key points, then the best rotation / scale hypotheses, whose flag says that
    they are rough and want to be improved.
    """
    homography = keypoint_transform(pair.source_pixels, pair.target_pixels)
    if homography is not None:
        yield np.asarray(homography @ np.linalg.inv(pair.from_target), np.float64), False
    for transform in search_rotation_scale(pair, mirror=mirror)[:CANDIDATES]:
        yield transform, True


def search_rotation_scale(pair: PairMatcher, *, mirror: bool = False) -> list[Matrix]:
    """Transforms (working pixel -> full-size source) of every angle and scale, best first.

    Those of one scale are matched as one batch at 32 x 32; the consistency of both directions ranks them.
    With ``mirror`` also with left and right exchanged.
    """
    frame = (COARSE_SIZE, COARSE_SIZE)
    to_working = resizing_matrix(frame, pair.working)
    scored: list[tuple[float, Matrix]] = []
    for mirrored, scale in product((False, True) if mirror else (False,), SCALES):
        transforms = [
            rotation_scale_matrix(
                pair.working, pair.source_size, degrees=degrees, scale=scale, mirror=mirrored
            )
            for degrees in ANGLES
        ]
        warped = [pair.warp_source(transform @ to_working, frame) for transform in transforms]
        sources = pair.predictor.encode_coarse([image for image, _ in warped])
        forward, backward = pair.predictor.match_coarse(sources, pair.target.features.coarse)
        for transform, there, back, (_, exists) in zip(transforms, forward, backward, warped, strict=True):
            error = forward_backward_error(there, back, stride=COARSE_SIZE // there.shape[0], exists=exists)
            scored.append((consistency(error, COARSE_CONSISTENT), transform))
    return [transform for _, transform in sorted(scored, key=lambda entry: -entry[0])]


def undo_global_motion(pair: PairMatcher, first: MatchResult, steps: int) -> MatchResult:
    """Match again under the global motion found so far, up to ``steps`` times, while consistency rises."""
    best = first
    for _ in range(steps):
        transform = fit_global_motion(best)
        if transform is None:
            break
        candidate = pair.match_transformed(transform)
        if candidate.consistency < best.consistency * GAIN:
            break
        best = candidate
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
