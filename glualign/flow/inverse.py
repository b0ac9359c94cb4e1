"""Going the other way: the target position that shows a given source position.

Solved by Newton's method on the bilinear field, from the nearest target pixel that lands there, so that
scale and rotation are no obstacle (fixed-point iteration diverges for both).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glualign.arrays import Doubles
from glualign.flow.field import Flow
from glualign.geometry import fill_unknown, inside, nearest_pixels, pixel_grid, positions, sample, strips

_NEWTON_STEPS = 20
_CONVERGED = 1e-3
_STEP = 1e-4
"""Pixels over which derivatives are taken; within a bilinear cell they are exact at any step."""
# A solution further than this from its pixel is none: the field folds or jumps there, or ends before it.
_ACCEPTED = 0.01


def invert(flow: Flow) -> Flow:
    """The flow of the other direction: from source pixels to target positions.

    If target pixel ``x`` shows ``x + f(x)``, the inverse ``g`` satisfies ``y + g(y) = x`` for
    ``y = x + f(x)``. Unknown where no target pixel shows the source pixel, where the field folds, or
    where it is unknown itself.
    """
    height, width = flow.source_frame
    solver = _Solver(flow)
    out = np.empty((height, width, 2), np.float32)
    for top, bottom in strips(flow.source_frame):
        here = pixel_grid((bottom - top, width), top=top).astype(np.float64)
        out[top:bottom] = solver.solve(here.reshape(-1, 2)).reshape(here.shape) - here
    return Flow(out, flow.size)


def to_source(flow: Flow, points: npt.ArrayLike) -> Doubles:
    """Source positions ``x + f(x)`` that target positions ``(N, 2)``, columns x and y, show.

    NaN outside the target, and where the flow is unknown or leaves the source.
    """
    target = np.asarray(points, np.float64).reshape(-1, 2)
    source = target + sample(flow.data, target[:, 0], target[:, 1])
    source[~inside(source[:, 0], source[:, 1], flow.source_frame)] = np.nan
    return source


def to_target(flow: Flow, points: npt.ArrayLike) -> Doubles:
    """Target positions that show source positions ``(N, 2)``, columns x and y: where keypoints end up.

    NaN where the target does not show the point.
    """
    return _Solver(flow).solve(np.asarray(points, np.float64).reshape(-1, 2))


class _Solver:
    """Solves ``x + f(x) = goal`` for one flow and many goals."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.field = flow.data if flow.known.all() else fill_unknown(flow.data, flow.known)
        # For each source pixel the target pixel that lands nearest, or those around it.
        landings = np.full((*flow.source_frame, 2), np.nan, np.float32)
        for top, bottom in strips(flow.size):
            x, y = positions(flow.data[top:bottom], top)
            seen = inside(x, y, flow.source_frame)
            rows, columns = np.nonzero(seen)
            pixels = nearest_pixels(flow.source_frame, x[seen], y[seen])
            landings[pixels] = np.stack([columns, rows + top], axis=-1)
        self.guess = fill_unknown(landings, ~np.isnan(landings[..., 0]))

    def solve(self, goals: Doubles) -> Doubles:
        """Target positions of source positions, ``(N, 2)`` each; NaN where there is none."""
        here = inside(goals[:, 0], goals[:, 1], self.flow.source_frame)
        start = self.guess[nearest_pixels(self.flow.source_frame, *np.where(here, goals.T, 0))]
        found, last = start.T.astype(np.float64, order="C"), np.array(self.field.shape[1::-1])[:, None] - 1
        active = np.flatnonzero(here)
        for _ in range(_NEWTON_STEPS):
            x, y = at = found[:, active]
            # One step to the left and up where there is room, so that the last column has a slope as well.
            left, up = np.where(x >= _STEP, -_STEP, _STEP), np.where(y >= _STEP, -_STEP, _STEP)
            near = np.stack([x, x + left, x]), np.stack([y, y, y + up])
            value, across, down = sample(self.field, *near, outside="edge").transpose(0, 2, 1)
            (a, c), (b, d) = (across - value) / left, (down - value) / up
            a, d = 1 + a, 1 + d
            determinant = a * d - b * c
            # In a fold the step has no bound; a floor keeps it on the image.
            determinant = np.where(np.abs(determinant) < 1e-2, np.copysign(1e-2, determinant), determinant)
            error_x, error_y = at + value - goals[active].T
            step = np.stack([d * error_x - b * error_y, a * error_y - c * error_x]) / determinant
            found[:, active] = np.clip(at - step, 0, last)
            active = active[np.hypot(*(found[:, active] - at)) > _CONVERGED]
            if active.size == 0:
                break
        error = np.hypot(*(found + sample(self.flow.data, *found).T - goals.T))
        with np.errstate(invalid="ignore"):
            found[:, ~(here & (error <= _ACCEPTED))] = np.nan
        return found.T
