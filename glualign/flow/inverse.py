"""Going the other way: the target position that shows a given source position.

Solved by Newton's method on the bilinear field, from the nearest target pixel that lands there, so that
scale and rotation are no obstacle (fixed-point iteration diverges for both).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glualign.arrays import Doubles, Floats
from glualign.flow.field import Flow
from glualign.geometry import fill_unknown, inside, pixel_grid, positions, sample, strips

_NEWTON_STEPS = 20
_CONVERGED = 1e-3
# A solution further than this from its pixel is none: the field folds or jumps there, or ends before it.
_ACCEPTED = 0.01


def invert(flow: Flow) -> Flow:
    """The flow of the other direction: from source pixels to target positions.

    If target pixel ``x`` shows ``x + f(x)``, the inverse ``g`` satisfies ``y + g(y) = x`` for
    ``y = x + f(x)``. Unknown where no target pixel shows the source pixel, where the field folds, or
    where it is unknown itself.

    Returns:
        A flow on the source grid whose source is the target grid.
    """
    height, width = flow.source_frame
    solver = _Solver(flow)
    out = np.empty((height, width, 2), np.float32)
    for top, bottom in strips(flow.source_frame):
        here = pixel_grid((bottom - top, width), top=top).astype(np.float64)
        found = solver.solve(here[..., 0].ravel(), here[..., 1].ravel())
        out[top:bottom] = np.stack(found, axis=-1).reshape(here.shape) - here
    return Flow(out, flow.size)


def to_source(flow: Flow, points: npt.ArrayLike) -> Doubles:
    """Source positions that target positions show: ``x + f(x)``.

    Args:
        flow: target -> source.
        points: ``(N, 2)`` columns x, y in target pixels.

    Returns:
        ``(N, 2)`` float64; NaN outside the target and where the flow is unknown.
    """
    target = np.asarray(points, np.float64).reshape(-1, 2)
    return target + sample(flow.data, target[:, 0], target[:, 1])


def to_target(flow: Flow, points: npt.ArrayLike) -> Doubles:
    """Target positions that show given source positions: where keypoints of the source end up.

    Args:
        flow: target -> source.
        points: ``(N, 2)`` columns x, y in source pixels.

    Returns:
        ``(N, 2)`` float64; NaN where the target does not show the point.
    """
    source = np.asarray(points, np.float64).reshape(-1, 2)
    return np.stack(_Solver(flow).solve(source[:, 0], source[:, 1]), axis=-1)


class _Solver:
    """Solves ``x + f(x) = goal`` for one flow and many goals."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.field = flow.data if flow.known.all() else fill_unknown(flow.data, flow.known)
        # For each source pixel the target pixel that lands nearest, or those around it.
        landings = np.full((*flow.source_frame, 2), np.nan, np.float32)
        for top, bottom in strips(flow.size):
            x, y = positions(flow.rows(top, bottom), top)
            seen = inside(x, y, flow.source_frame)
            rows, columns = np.nonzero(seen)
            landings[_pixels(x[seen], y[seen], flow.source_frame)] = np.stack([columns, rows + top], axis=-1)
        self.guess = fill_unknown(landings, ~np.isnan(landings[..., 0]))

    def solve(self, goal_x: Doubles, goal_y: Doubles) -> tuple[Doubles, Doubles]:
        """Target positions ``(N,)`` of source positions ``(N,)``; NaN where there is none."""
        here = inside(goal_x, goal_y, self.flow.source_frame)
        start = self.guess[_pixels(np.where(here, goal_x, 0), np.where(here, goal_y, 0), self.guess.shape)]
        x, y = self._newton(goal_x, goal_y, start.astype(np.float64))
        found = sample(self.flow.data, x, y)
        error = np.hypot(x + found[:, 0] - goal_x, y + found[:, 1] - goal_y)
        with np.errstate(invalid="ignore"):
            lost = ~(here & (error <= _ACCEPTED))
        x[lost], y[lost] = np.nan, np.nan
        return x, y

    def _newton(self, goal_x: Doubles, goal_y: Doubles, start: Doubles) -> tuple[Doubles, Doubles]:
        """Newton's method within the bilinear cells, from ``start`` ``(N, 2)``, kept inside the frame."""
        height, width = self.field.shape[:2]
        x, y = start[:, 0].copy(), start[:, 1].copy()
        active = np.flatnonzero(np.isfinite(goal_x) & np.isfinite(goal_y))
        for _ in range(_NEWTON_STEPS):
            at_x, at_y = x[active], y[active]
            value, by_x, by_y = _cell(self.field, at_x, at_y)
            error_x, error_y = at_x + value[:, 0] - goal_x[active], at_y + value[:, 1] - goal_y[active]
            a, b, c, d = 1 + by_x[:, 0], by_y[:, 0], by_x[:, 1], 1 + by_y[:, 1]
            determinant = a * d - b * c
            # In a fold the step has no bound; a floor keeps it on the image.
            determinant = np.where(np.abs(determinant) < 1e-2, np.copysign(1e-2, determinant), determinant)
            new_x = np.clip(at_x - (d * error_x - b * error_y) / determinant, 0, width - 1)
            new_y = np.clip(at_y - (a * error_y - c * error_x) / determinant, 0, height - 1)
            x[active], y[active] = new_x, new_y
            active = active[np.hypot(new_x - at_x, new_y - at_y) > _CONVERGED]
            if active.size == 0:
                break
        return x, y


def _pixels(x: Doubles, y: Doubles, frame: tuple[int, ...]) -> tuple[npt.NDArray[np.intp], ...]:
    """Rows and columns of the pixels of a frame that are nearest to positions."""
    rows, columns = np.clip(np.rint(y), 0, frame[0] - 1), np.clip(np.rint(x), 0, frame[1] - 1)
    return rows.astype(np.intp), columns.astype(np.intp)


def _cell(field: Floats, x: Doubles, y: Doubles) -> tuple[Doubles, Doubles, Doubles]:
    """Bilinear value and its derivatives by x and y, each ``(N, 2)``."""
    height, width = field.shape[:2]
    left = np.clip(np.floor(x), 0, max(width - 2, 0)).astype(np.intp)
    top = np.clip(np.floor(y), 0, max(height - 2, 0)).astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    upper_left, upper_right = field[top, left], field[top, right]
    lower_left, lower_right = field[bottom, left], field[bottom, right]
    upper = upper_left + fx * (upper_right - upper_left)
    lower = lower_left + fx * (lower_right - lower_left)
    by_x = (1 - fy) * (upper_right - upper_left) + fy * (lower_right - lower_left)
    return upper + fy * (lower - upper), by_x, lower - upper
