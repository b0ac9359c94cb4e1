"""Arithmetic of flow fields: compose, resize, compare, derivatives, and fields made from a matrix.

All of them sample bilinearly and keep unknown pixels unknown.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from glualign.arrays import Floats
from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.geometry import (
    forward_backward_error,
    pixel_grid,
    positions,
    resize_flow,
    sample,
    strips,
    transform_flow,
)


def compose(first: Flow, second: Flow) -> Flow:
    """One flow for two steps: ``first`` target -> middle, ``second`` middle -> source; target -> source.

    ``result(x) = first(x) + second(x + first(x))``; unknown where ``first`` leaves the middle image or
    meets an unknown pixel of ``second``.

    Raises:
        FlowError: the source of ``first`` is not of the size of ``second``'s grid.
    """
    _check_chain(first, second)
    out = np.empty_like(first.data)
    for top, bottom in strips(first.size):
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
    # `resize_flow` scales source and target alike; the source is resized by `ratio` times as much.
    out = resize_flow(flow.data, size)
    ratio = np.array(
        [
            source_size[1] / frame_width * old_width / width,
            source_size[0] / frame_height * old_height / height,
        ]
    )
    if (ratio != 1).any():
        out = out * ratio.astype(np.float32)
        out += (pixel_grid(size) + np.float32(0.5)) * (ratio - 1).astype(np.float32)
    return Flow(out, source_size)


def consistency(forward: Flow, backward: Flow) -> Floats:
    """Distance in pixels by which going to the source and back misses the target pixel it started from.

    Args:
        forward: target -> source, on the target grid.
        backward: source -> target, on the source grid.

    Returns:
        ``(H_target, W_target)`` float32; NaN where either is unknown or ``forward`` leaves the source.

    Raises:
        FlowError: the grids do not fit together.
    """
    _check_chain(forward, backward)
    _check_chain(backward, forward)
    error = forward_backward_error(forward.data, backward.data)
    error[~forward.valid()] = np.nan
    return error


def from_transform(
    matrix: npt.ArrayLike,
    target_size: tuple[int, int],
    source_size: tuple[int, int] | None = None,
    out: Floats | None = None,
) -> Flow:
    """The flow of a 3x3 matrix that maps homogeneous target pixels ``(x, y, 1)`` to source pixels.

    Unknown where the matrix maps a pixel to or beyond the horizon. Written to ``out`` where that is given.

    Raises:
        FlowError: the matrix is not 3x3, not finite, or singular.
    """
    try:
        transform = np.asarray(matrix, np.float64)
    except (TypeError, ValueError) as error:
        raise FlowError(f"a transform is a finite 3x3 matrix; got {type(matrix).__name__}") from error
    if transform.shape != (3, 3) or not np.isfinite(transform).all():
        raise FlowError(f"a transform is a finite 3x3 matrix; got shape {transform.shape}")
    if np.linalg.matrix_rank(transform) < 3:
        raise FlowError("a transform must have an inverse; this matrix is singular")
    return Flow(transform_flow(transform, target_size, out), source_size)


def jacobian_determinant(flow: Flow) -> Floats:
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
    known = folded = 0
    for top, bottom in strips(flow.size):
        # With a row on either side, so that differences at the edge of a strip are central ones.
        above, below = max(0, min(top - 1, flow.height - 2)), min(flow.height, bottom + 1)
        determinant = jacobian_determinant(Flow(flow.data[above:below]))[top - above :][: bottom - top]
        known += int(np.isfinite(determinant).sum())
        folded += int((determinant <= 0).sum())
    return folded / known if known else float("nan")


def _check_chain(first: Flow, second: Flow) -> None:
    if first.source_frame != second.size and first.source_size is not None:
        raise FlowError(
            "the flows do not fit together: the first leads to an image of "
            f"{_by(first.source_frame)} pixels, the second starts from {_by(second.size)}"
        )


def _by(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"
