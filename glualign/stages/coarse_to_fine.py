"""Coarse to fine over transforms: what one pass explains by a global motion is undone before the next."""

from __future__ import annotations

import numpy as np

from glualign.errors import FlowError
from glualign.flow import Flow, TransformModel, fit_transform
from glualign.geometry import Matrix, resizing_matrix
from glualign.stages.passes import Pass, PassRunner

TRUSTED = 2.0
"""Working pixels of disagreement below which a cell votes on the global transform."""
INLIER = 3.0
"""Working pixels around the transform within which a vote supports it."""
SUPPORT: dict[TransformModel, float] = {"homography": 0.25, "affine": 0.2, "similarity": 0.15}
"""Models in the order they are tried, and the share of votes that must support each."""
FEWEST_VOTES = 384
"""Working pixels whose cells must vote."""
GAIN = 1.002
"""A pass replaces the best one when its score is this many times as high."""


def iterate(runner: PassRunner, first: Pass, passes: int) -> Pass:
    """Refine ``first`` by up to ``passes`` further passes, while the agreement of both directions grows."""
    best = first
    for _ in range(passes):
        transform = next_transform(best)
        if transform is None:
            break
        candidate = runner.transformed(transform)
        if candidate.score < best.score * GAIN:
            break
        best = candidate
    return best


def next_transform(found: Pass) -> Matrix | None:
    """The transform, working pixel -> full-size source, through the trusted cells of a pass.

    A homography when enough cells support it, else an affine map, else a similarity; None without support.
    """
    trusted = found.error < TRUSTED
    if trusted.sum() * found.stride**2 < FEWEST_VOTES:
        return None
    cells = Flow(found.flow / np.float32(found.stride))
    size = cells.size
    to_cells = resizing_matrix((size[0] * found.stride, size[1] * found.stride), size)
    for model, least in SUPPORT.items():
        try:
            fit = fit_transform(cells, model, trusted, threshold=INLIER / found.stride, max_points=4000)
        except FlowError:
            continue
        if fit.inlier_share >= least:
            return np.asarray(found.transform @ np.linalg.inv(to_cells) @ fit.matrix @ to_cells, np.float64)
    return None
