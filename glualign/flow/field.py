"""`Flow`, where in the source each target pixel comes from; arithmetic of flows, and transforms as flows.

All of it samples bilinearly and keeps unknown pixels unknown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import glualign.geometry as geometry
from glualign.arrays import Array, Doubles, Floats, Mask
from glualign.errors import FlowError
from glualign.geometry import robust

Weights = Floats | Mask
"""``(H, W)`` confidence or mask."""
# Drawn for a fit; equal flows give equal draws.
_MOST_POINTS = 20_000
# Pixels of a large image among which the points of a fit are drawn.
_MOST_CANDIDATES = 1 << 20


@dataclass(frozen=True, eq=False)
class Flow:
    """A dense flow field, target -> source: target pixel ``(x, y)`` shows source position ``(x + u, y + v)``.

    Attributes:
        data: ``(H, W, 2)`` float32 on the target grid, ``u`` to the right and ``v`` downwards in source
            pixels. Unknown pixels are NaN in both components.
        source_size: ``(height, width)`` of the source image; None: not known, and taken to be the target's.

    Raises:
        FlowError: the array is not ``(H, W, 2)`` real numbers, is empty, or holds infinite values.
    """

    data: Floats
    source_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        data: Array = np.asarray(self.data)
        if data.ndim != 3 or data.shape[2] != 2 or data.size == 0:
            raise FlowError(f"a flow is an array (height, width, 2); got shape {data.shape}")
        if data.dtype.kind not in "fiu":
            raise FlowError(f"a flow holds real numbers; got {data.dtype}")
        data = np.ascontiguousarray(data, np.float32)
        if not np.isfinite(data).all():
            if np.isinf(data).any():
                raise FlowError("the flow holds infinite values; mark unknown pixels with NaN")
            unknown = np.isnan(data).any(axis=2)
            if not np.isnan(data[unknown]).all():
                data = data.copy()
                data[unknown] = np.nan
        source = None if self.source_size is None else (int(self.source_size[0]), int(self.source_size[1]))
        if source and min(source) <= 0:
            raise FlowError(f"the source size must be positive; got {self.source_size}")
        vars(self).update(data=data, source_size=source)

    def __repr__(self) -> str:
        return f"<Flow {geometry.wxh(self.size)}, source {geometry.wxh(self.source_frame)}>"

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` of the target grid."""
        return geometry.size_of(self.data)

    @property
    def height(self) -> int:
        """Rows of the target grid."""
        return self.size[0]

    @property
    def width(self) -> int:
        """Columns of the target grid."""
        return self.size[1]

    @property
    def source_frame(self) -> tuple[int, int]:
        """``(height, width)`` of the source: its own size where it is known, else the target's."""
        return self.source_size or self.size

    @property
    def known(self) -> Mask:
        """``(H, W)`` bool: the pixel has a flow at all."""
        return ~np.isnan(self.data[..., 0])

    @property
    def magnitude(self) -> Floats:
        """``(H, W)`` length of the flow in pixels; NaN where unknown."""
        return np.hypot(self.data[..., 0], self.data[..., 1])

    def valid(self) -> Mask:
        """``(H, W)`` bool: known, and the source position lies inside ``[0, W-1] x [0, H-1]``."""
        out = np.empty(self.size, np.bool_)
        for top, bottom in geometry.strips(self.size):
            x, y = geometry.positions(self.data[top:bottom], top)
            out[top:bottom] = geometry.inside(x, y, self.source_frame)
        return out


def compose(first: Flow, second: Flow) -> Flow:
    """One flow for two steps: ``first`` target -> middle, ``second`` middle -> source; target -> source.

    ``result(x) = first(x) + second(x + first(x))``; unknown where ``first`` leaves the middle image or
    meets an unknown pixel of ``second``. Where the size of the source is not known, and the target is not of
    that of the middle image, it is taken to be the latter.

    Raises:
        FlowError: the source of ``first`` is not of the size of ``second``'s grid.
    """
    _check_chain(first, second)
    out = np.empty_like(first.data)
    for top, bottom in geometry.strips(first.size):
        rows = first.data[top:bottom]
        x, y = geometry.positions(rows, top)
        out[top:bottom] = rows + geometry.sample(second.data, x, y)
    return Flow(out, second.source_size or (None if first.size == second.size else second.size))


def resize(flow: Flow, size: tuple[int, int], source_size: tuple[int, int] | None = None) -> Flow:
    """The same motion between images resized to ``size`` and ``source_size`` (None: by the target's factors).

    A source whose size is not known stays one, unless its new size is given: then it had the target's.
    Pixel centres are integers: resizing by ``s`` maps ``x`` to ``(x + 0.5) * s - 0.5``. Bilinear; beyond the
    outermost centres the flow goes on as between the last two. Unknown where a neighbour with a weight is.

    Raises:
        FlowError: a size is not positive.
    """
    if min(size) <= 0:
        raise FlowError(f"a flow cannot be resized to {geometry.wxh(size)} pixels")
    frame, scale = np.array(flow.source_frame), np.array(size) / flow.size
    height, width = source_size or (max(1, round(side)) for side in frame * scale)
    out = np.empty((*size, 2), np.float32)
    # The target is resized by `scale`, the source by `ratio` times as much.
    ratio = (np.array([height, width]) / frame / scale)[::-1].astype(np.float32)
    factor = scale[::-1].astype(np.float32) * ratio
    for top, bottom in geometry.strips(size):
        rows = _interpolated(flow.data, np.arange(top, bottom), size[0], axis=0)
        out[top:bottom] = _interpolated(rows, np.arange(size[1]), size[1], axis=1) * factor
        here = geometry.pixel_grid((bottom - top, size[1]), top=top)
        out[top:bottom] += (here + np.float32(0.5)) * (ratio - 1)
    return Flow(out, (height, width) if source_size or flow.source_size else None)


def _interpolated(field: Array, indices: npt.NDArray[np.intp], length: int, *, axis: int) -> Array:
    """A field ``(h, w, 2)`` at some places of a grid that has ``length`` of them along an axis."""
    last = field.shape[axis] - 1
    at = (indices + 0.5) * ((last + 1) / length) - 0.5
    low = np.where(at == last, last, np.clip(np.floor(at), 0, max(last - 1, 0))).astype(np.intp)
    weight = np.expand_dims((at - low).astype(np.float32), (1 - axis, 2))
    near = field.take(low, axis)
    slope = field.take(np.minimum(low + 1, last), axis) - near
    return np.asarray(near + np.where(weight == 0, np.float32(0), slope * weight))


def forward_backward_error(forward: Flow, backward: Flow) -> Floats:
    """Distance in pixels by which going to the source and back misses the target pixel it started from.

    ``(H_target, W_target)`` float32; NaN where either is unknown or ``forward`` leaves the source.

    Raises:
        FlowError: the grids do not fit together.
    """
    _check_chain(forward, backward)
    _check_chain(backward, forward)
    error = geometry.forward_backward_error(forward.data, backward.data)
    # The source is the grid of ``backward``, also where ``forward`` does not know its size.
    error[~Flow(forward.data, backward.size).valid()] = np.nan
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
    except (TypeError, ValueError):
        transform = np.empty(0)
    if transform.shape != (3, 3) or not np.isfinite(transform).all():
        raise FlowError(f"a transform is a finite 3x3 matrix; got {matrix!r:.80}".replace("\n", ""))
    if np.linalg.matrix_rank(transform) < 3:
        raise FlowError("a transform must have an inverse; this matrix is singular")
    return Flow(geometry.transform_flow(transform, target_size, out), source_size)


class Fit(NamedTuple):
    """A transform fitted to a flow."""

    matrix: Doubles  # 3x3, homogeneous target pixels -> source pixels, ``matrix[2, 2] == 1``
    inlier_share: float  # share (0 to 1) of the flow within the threshold of it


def fit_transform(
    flow: Flow,
    model: robust.TransformModel = "homography",
    weights: Weights | None = None,
    *,
    threshold: float = 3.0,
) -> Fit:
    """Fit a transform robustly: homographies with MAGSAC++, the others with RANSAC and Tukey's weights.

    Args:
        flow: target -> source.
        model: the kind of transform.
        weights: ``(H, W)`` confidence or mask; pixels count in proportion, those at 0 not at all.
        threshold: largest distance of an inlier, in source pixels.

    Raises:
        FlowError: too few known pixels, or no transform of that kind makes sense of the flow (degenerate,
            the horizon crosses the picture, or the scale is beyond 50).
    """
    return fit_drawn(*draw_points(flow, weights, _MOST_POINTS), model, flow.size, threshold=threshold)


def fit_drawn(
    target: Doubles,
    source: Doubles,
    model: robust.TransformModel,
    size: tuple[int, int],
    *,
    threshold: float = 3.0,
) -> Fit:
    """`fit_transform` of points that were drawn, ``(N, 2)`` each as (x, y), on a target of ``size``.

    Raises:
        FlowError: as `fit_transform`.
    """
    matrix = robust.fit_points(target, source, model, threshold=threshold)
    fault = geometry.transform_fault(matrix, size)
    if fault:
        raise FlowError(f"no real {model}: the one that fits best {fault}")
    return Fit(matrix, float((robust.transfer_errors(matrix, target, source) <= threshold).mean()))


def draw_points(flow: Flow, weights: Weights | None, max_points: int) -> tuple[Doubles, Doubles]:
    """At most ``max_points`` known target pixels and their source positions, ``(N, 2)`` each as (x, y).

    Raises:
        FlowError: the weights are of another size than the flow.
    """
    if weights is not None and weights.shape != flow.size:
        raise FlowError(f"the weights are {weights.shape}, the flow is {flow.size}")
    # To sort or weigh all pixels of a large image would take 40 bytes each.
    step = math.ceil(math.sqrt(flow.height * flow.width / _MOST_CANDIDATES))
    for stride in sorted({step, 1}, reverse=True):  # all where hardly any pixel of the sample is usable
        chance: Array = np.isfinite(flow.data[::stride, ::stride, 0])
        if weights is not None:
            chance = np.where(chance, np.nan_to_num(weights[::stride, ::stride]), 0)
        rows, columns = np.nonzero(chance > 0)
        if rows.size >= max_points:
            break
    if rows.size > max_points:
        share = chance[rows, columns].astype(np.float64)
        chosen = np.random.default_rng(0).choice(rows.size, max_points, replace=False, p=share / share.sum())
        rows, columns = rows[chosen], columns[chosen]
    target = stride * np.stack([columns, rows], axis=-1).astype(np.float64)
    return target, target + flow.data[stride * rows, stride * columns]


def jacobian_determinant(flow: Flow) -> Floats:
    """``(H, W)`` determinant of the map ``x -> x + f(x)``: area change; zero or less where it folds.

    Central differences, one-sided at the frame; NaN beside unknown pixels.

    Raises:
        FlowError: the grid is smaller than 2 x 2.
    """
    if min(flow.size) < 2:
        raise FlowError(f"a flow of {geometry.wxh(flow.size)} pixels has no derivatives")
    out = np.empty(flow.size, np.float32)
    for top, bottom in geometry.strips(flow.size):
        # With a row on either side, so that differences at the edge of a strip are central ones.
        above, below = max(0, min(top - 1, flow.height - 2)), min(flow.height, bottom + 1)
        u_y, u_x = np.gradient(flow.data[above:below, :, 0])
        v_y, v_x = np.gradient(flow.data[above:below, :, 1])
        determinant = np.asarray((1 + u_x) * (1 + v_y) - u_y * v_x, np.float32)
        out[top:bottom] = determinant[top - above :][: bottom - top]
    return out


def folding_share(flow: Flow) -> float:
    """Share (0 to 1) of pixels where the map folds, among those where that can be told; NaN if none.

    A map that mirrors folds where it does not.
    """
    determinant = jacobian_determinant(flow)
    known = np.count_nonzero(np.isfinite(determinant))
    folds = min(np.count_nonzero(determinant <= 0), np.count_nonzero(determinant >= 0))
    return float(folds / known) if known else float("nan")


def _check_chain(first: Flow, second: Flow) -> None:
    if first.source_frame != second.size and first.source_size is not None:
        raise FlowError(
            "the flows do not fit together: the first leads to an image of "
            f"{geometry.wxh(first.source_frame)} pixels, the second starts from {geometry.wxh(second.size)}"
        )
