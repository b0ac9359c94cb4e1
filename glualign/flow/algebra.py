"""Arithmetic of flow fields: invert, compose, resize, compare, and make from a matrix.

All of them sample bilinearly in float64 and keep unknown pixels unknown.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError
from glualign.flow.field import Flow, inside, positions
from glualign.flow.sampling import sample

_STRIP_PIXELS = 1 << 19
_NEWTON_STEPS = 20
_CONVERGED = 1e-3
# A solution further than this from its pixel is no solution: the field folds or jumps there.
_ACCEPTED = 0.05


def invert(flow: Flow) -> Flow:
    """The flow of the other direction: from source pixels to target positions.

    If target pixel ``x`` shows ``x + f(x)``, the inverse ``g`` satisfies ``y + g(y) = x`` for
    ``y = x + f(x)``. Each source pixel is solved for by Newton's method on the bilinear field, from the
    nearest target pixel that lands there; so scale and rotation are no obstacle. Unknown where no
    target pixel shows the source pixel, where the field folds, or where it is unknown itself.

    Returns:
        A flow on the source grid whose source is the target grid.
    """
    height, width = flow.source_frame
    filled = _fill_unknown(flow.data)
    guess = _fill_unknown(_landings(flow))
    out = np.empty((height, width, 2), np.float32)
    for top, bottom in _strips(height, width):
        goal_x, goal_y = positions(np.zeros((bottom - top, width, 2), np.float32), top)
        x, y = _solve(filled, goal_x, goal_y, guess[top:bottom])
        found = sample(flow.data, x, y)
        error = np.hypot(x + found[..., 0] - goal_x, y + found[..., 1] - goal_y)
        with np.errstate(invalid="ignore"):
            lost = ~(error <= _ACCEPTED)
        solution = np.stack([x - goal_x, y - goal_y], axis=-1)
        solution[lost] = np.nan
        out[top:bottom] = solution
    return Flow(out, flow.size)


def compose(first: Flow, second: Flow) -> Flow:
    """One flow for two steps: ``first`` target -> middle, ``second`` middle -> source; target -> source.

    ``result(x) = first(x) + second(x + first(x))``; unknown where ``first`` leaves the middle image or
    meets an unknown pixel of ``second``.

    Raises:
        FlowError: the source of ``first`` is not of the size of ``second``'s grid.
    """
    if first.source_frame != second.size and first.source_size is not None:
        raise FlowError(
            "the flows do not fit together: the first leads to an image of "
            f"{_by(first.source_frame)} pixels, the second starts from {_by(second.size)}"
        )
    out = np.empty_like(first.data)
    for top, bottom in _strips(*first.size):
        rows = first.rows(top, bottom)
        x, y = positions(rows, top)
        out[top:bottom] = rows + sample(second.data, x, y)
    return Flow(out, second.source_frame)


def resize(flow: Flow, size: tuple[int, int], source_size: tuple[int, int] | None = None) -> Flow:
    """The same motion between resized images.

    Args:
        flow: target -> source.
        size: new ``(height, width)`` of the target.
        source_size: new ``(height, width)`` of the source; None scales it by the target's factors.

    Pixel centres are integers: resizing by ``s`` maps ``x`` to ``(x + 0.5) * s - 0.5``.

    Raises:
        FlowError: a size is not positive.
    """
    height, width = size
    if height <= 0 or width <= 0:
        raise FlowError(f"a flow cannot be resized to {_by(size)} pixels")
    old_height, old_width = flow.size
    frame_height, frame_width = flow.source_frame
    if source_size is None:
        scaled = (frame_height * height / old_height, frame_width * width / old_width)
        source_size = (max(1, round(scaled[0])), max(1, round(scaled[1])))
    scale_x, scale_y = source_size[1] / frame_width, source_size[0] / frame_height
    x_old = (np.arange(width) + 0.5) * old_width / width - 0.5
    out = np.empty((height, width, 2), np.float32)
    for top, bottom in _strips(height, width):
        y_old = (np.arange(top, bottom) + 0.5) * old_height / height - 0.5
        grid_x, grid_y = np.meshgrid(x_old, y_old)
        found = sample(flow.data, grid_x, grid_y, outside="edge")
        source_x = (grid_x + found[..., 0] + 0.5) * scale_x - 0.5
        source_y = (grid_y + found[..., 1] + 0.5) * scale_y - 0.5
        out[top:bottom, :, 0] = source_x - np.arange(width)
        out[top:bottom, :, 1] = source_y - np.arange(top, bottom)[:, None]
    return Flow(out, source_size)


def consistency(forward: Flow, backward: Flow) -> npt.NDArray[np.float32]:
    """Distance in pixels by which going to the source and back misses the target pixel it started from.

    Args:
        forward: target -> source, on the target grid.
        backward: source -> target, on the source grid.

    Returns:
        ``(H_target, W_target)`` float32; NaN where either is unknown or ``forward`` leaves the source.

    Raises:
        FlowError: the grids do not fit together.
    """
    round_trip = compose(forward, backward)
    if backward.source_frame != forward.size and backward.source_size is not None:
        raise FlowError(
            f"the flows do not fit together: the way back leads to an image of {_by(backward.source_frame)} "
            f"pixels, the way there starts from {_by(forward.size)}"
        )
    return round_trip.magnitude


def from_transform(
    matrix: npt.ArrayLike, target_size: tuple[int, int], source_size: tuple[int, int] | None = None
) -> Flow:
    """The flow of a 3x3 matrix that maps homogeneous target pixels ``(x, y, 1)`` to source pixels.

    Unknown where the matrix maps a pixel to or beyond the horizon.

    Raises:
        FlowError: the matrix is not 3x3 or not finite.
    """
    transform = np.asarray(matrix, np.float64)
    if transform.shape != (3, 3) or not np.isfinite(transform).all():
        raise FlowError(f"a transform is a finite 3x3 matrix; got shape {transform.shape}")
    height, width = target_size
    out = np.empty((height, width, 2), np.float32)
    # The side of the horizon that the centre of the image is on.
    side = np.sign(transform[2] @ ((width - 1) / 2, (height - 1) / 2, 1.0)) or 1.0
    for top, bottom in _strips(height, width):
        x, y = positions(np.zeros((bottom - top, width, 2), np.float32), top)
        u, v, w = (row[0] * x + row[1] * y + row[2] for row in transform)
        w = np.where(w * side > 1e-9, w, np.nan)
        out[top:bottom] = np.stack([u / w - x, v / w - y], axis=-1)
    return Flow(out, source_size)


def jacobian_determinant(flow: Flow) -> npt.NDArray[np.float32]:
    """``(H, W)`` determinant of the map ``x -> x + f(x)``: area change; zero or less where it folds.

    Central differences, one-sided at the frame; NaN beside unknown pixels.

    Raises:
        FlowError: the grid is smaller than 2 x 2.
    """
    if min(flow.size) < 2:
        raise FlowError(f"a flow of {_by(flow.size)} pixels has no derivatives")
    u_y, u_x = np.gradient(flow.data[..., 0])
    v_y, v_x = np.gradient(flow.data[..., 1])
    return np.asarray((1 + u_x) * (1 + v_y) - u_y * v_x, np.float32)


def folding_share(flow: Flow) -> float:
    """Share (0 to 1) of pixels where the map folds, among those where that can be told; NaN if none."""
    determinant = jacobian_determinant(flow)
    known = np.isfinite(determinant)
    return float((determinant[known] <= 0).mean()) if known.any() else float("nan")


def _by(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"


def _strips(height: int, width: int) -> Iterator[tuple[int, int]]:
    step = max(1, _STRIP_PIXELS // max(1, width))
    for top in range(0, height, step):
        yield top, min(top + step, height)


def _landings(flow: Flow) -> npt.NDArray[np.float32]:
    """``(H_source, W_source, 2)``: the target pixel that lands nearest; NaN where none does."""
    height, width = flow.source_frame
    landings = np.full((height, width, 2), np.nan, np.float32)
    for top, bottom in _strips(*flow.size):
        x, y = positions(flow.rows(top, bottom), top)
        seen = inside(x, y, height, width)
        rows, columns = np.nonzero(seen)
        to_row = np.clip(np.rint(y[seen]), 0, height - 1).astype(np.intp)
        to_column = np.clip(np.rint(x[seen]), 0, width - 1).astype(np.intp)
        landings[to_row, to_column] = np.stack([columns, rows + top], axis=-1)
    return landings


def _fill_unknown(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``(H, W, 2)`` with NaN replaced by averages of ever larger neighbourhoods (pull-push)."""
    unknown = np.isnan(values[..., 0])
    if not unknown.any():
        return values
    height, width = unknown.shape
    if unknown.all() or height * width == 1:
        return np.zeros_like(values)
    padded = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)), constant_values=np.nan)
    blocks = padded.reshape(padded.shape[0] // 2, 2, padded.shape[1] // 2, 2, 2)
    count = np.isfinite(blocks).sum(axis=(1, 3))
    with np.errstate(invalid="ignore"):
        halved = np.asarray(np.nansum(blocks, axis=(1, 3)) / np.where(count, count, np.nan), np.float32)
    rows, columns = np.nonzero(unknown)
    out = values.copy()
    out[rows, columns] = _fill_unknown(halved)[rows // 2, columns // 2]
    return out


def _solve(
    field: npt.NDArray[np.float32],
    goal_x: npt.NDArray[np.float64],
    goal_y: npt.NDArray[np.float64],
    guess: npt.NDArray[np.float32],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Positions ``x`` with ``x + field(x) = goal``, by Newton's method within the bilinear cells."""
    height, width = field.shape[:2]
    x, y = guess[..., 0].astype(np.float64).ravel(), guess[..., 1].astype(np.float64).ravel()
    aim_x, aim_y = goal_x.ravel(), goal_y.ravel()
    active = np.arange(x.size)
    for _ in range(_NEWTON_STEPS):
        at_x, at_y = x[active], y[active]
        value, by_x, by_y = _cell(field, at_x, at_y)
        error_x, error_y = at_x + value[:, 0] - aim_x[active], at_y + value[:, 1] - aim_y[active]
        a, b, c, d = 1 + by_x[:, 0], by_y[:, 0], by_x[:, 1], 1 + by_y[:, 1]
        determinant = a * d - b * c
        # In a fold the step has no bound; a floor keeps it on the image.
        determinant = np.where(np.abs(determinant) < 1e-2, np.copysign(1e-2, determinant), determinant)
        new_x = np.clip(at_x - (d * error_x - b * error_y) / determinant, 0, width - 1)
        new_y = np.clip(at_y - (a * error_y - c * error_x) / determinant, 0, height - 1)
        x[active], y[active] = new_x, new_y
        moving = np.hypot(new_x - at_x, new_y - at_y) > _CONVERGED
        active = active[moving]
        if active.size == 0:
            break
    return x.reshape(goal_x.shape), y.reshape(goal_y.shape)


def _cell(
    field: npt.NDArray[np.float32], x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Bilinear value and its derivatives by x and y, each ``(N, 2)``."""
    height, width = field.shape[:2]
    left = np.clip(np.floor(x), 0, max(width - 2, 0)).astype(np.intp)
    top = np.clip(np.floor(y), 0, max(height - 2, 0)).astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = (x - left)[:, None], (y - top)[:, None]
    flat = field.reshape(-1, 2)
    upper_left, upper_right = flat[top * width + left], flat[top * width + right]
    lower_left, lower_right = flat[bottom * width + left], flat[bottom * width + right]
    upper = upper_left + fx * (upper_right - upper_left)
    lower = lower_left + fx * (lower_right - lower_left)
    by_x = (1 - fy) * (upper_right - upper_left) + fy * (lower_right - lower_left)
    return upper + fy * (lower - upper), by_x, lower - upper
