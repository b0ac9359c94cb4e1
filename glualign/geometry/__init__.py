"""Coordinates: pixel frames, 3 x 3 transforms between them, and flow fields on them as arrays ``(H, W, 2)``.

A transform maps homogeneous pixels ``(x, y, 1)`` of one frame to those of another. Integer coordinates are
pixel centres. `glualign.network.warping.pixel_grid` is the torch twin of `pixel_grid`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Array, Doubles, Field, Floats, Mask, Matrix, Points, Size

EDGE_TOLERANCE = 1e-3
"""Pixels outside the frame that still count as on it: algebra in float32 leaves errors of this size."""

_STRIP_PIXELS = 1 << 15
"""Of a strip; with 1 << 15, 17 and 19 a forward-backward error of 12 megapixels takes 0.8, 1.1 and 1.5 s."""
SCALE_LIMIT = 50.0
"""A transform that changes lengths by more than this, up or down, shows no picture of the same thing."""

_NEAREST_DEPTH = 1e-9
"""Homogeneous depth below which a point is on the horizon or behind the camera."""


def pixel_grid(size: Size, *, left: int = 0, top: int = 0) -> Floats:
    """Pixel centres ``(H, W, 2)`` float32, x then y, of a frame whose first pixel is at ``(left, top)``.

    Exact up to 16,777,216 (the integers that float32 holds).
    """
    height, width = size
    out = np.empty((height, width, 2), np.float32)
    out[..., 0] = np.arange(left, left + width)
    out[..., 1] = np.arange(top, top + height)[:, None]
    return out


def positions(flow: Array, top: int = 0, left: int = 0) -> tuple[Doubles, Doubles]:
    """Source positions ``x, y`` ``(H, W)`` of a flow ``(H, W, 2)`` whose first pixel is at ``(left, top)``.

    In float64: at column 40,000 a float32 position has steps of 0.004 px.
    """
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(left, left + width, dtype=np.float64)
    y = flow[..., 1] + np.arange(top, top + height, dtype=np.float64)[:, None]
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def inside(x: Array, y: Array, size: Size, *, edge: Literal["centres", "areas"] = "centres") -> Mask:
    """Whether positions lie in a frame; false for NaN.

    Within ``centres``, ``[0, W-1] x [0, H-1]``, values can be interpolated between pixels (flows, warping,
    valid masks), with `EDGE_TOLERANCE`; ``areas``, ``[-0.5, W-0.5] x [-0.5, H-0.5]``, is what the pixels
    cover, for cells of a coarser grid and for images under a transform.
    """
    height, width = size
    reach = EDGE_TOLERANCE if edge == "centres" else 0.5
    horizontally = (x >= -reach) & (x <= width - 1 + reach)
    return np.asarray(horizontally & (y >= -reach) & (y <= height - 1 + reach))


def strips(size: Size, pixels: int | None = None) -> Iterator[tuple[int, int]]:
    """``(top, bottom)`` of strips of so many ``pixels`` at most, or of one row.

    None: of so few that float64 intermediates of a field fit the cache of a processor.
    """
    height, width = size
    step = max(1, (pixels or _STRIP_PIXELS) // max(1, width))
    for top in range(0, height, step):
        yield top, min(top + step, height)


def nearest_pixels(size: Size, x: Array, y: Array) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Rows and columns of the pixels of a frame that are nearest to positions."""
    rows, columns = np.clip(np.rint(y), 0, size[0] - 1), np.clip(np.rint(x), 0, size[1] - 1)
    return rows.astype(np.intp), columns.astype(np.intp)


def size_of(image: Array) -> Size:
    """``(height, width)`` of an image or a field."""
    return image.shape[0], image.shape[1]


def wxh(size: Sequence[int]) -> str:
    """``WIDTH x HEIGHT``, as messages say it."""
    return f"{size[1]} x {size[0]}"


def inverse(matrix: Matrix) -> Matrix:
    """The transform in the other direction."""
    return np.asarray(np.linalg.inv(matrix), np.float64)


def resizing_matrix(before: Size, after: Size) -> Matrix:
    """Pixel -> pixel when an image of size ``before`` is resized to ``after``: ``(x + 0.5) s - 0.5``."""
    sy, sx = after[0] / before[0], after[1] / before[1]
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]], dtype=np.float64)


def rotation_scale_matrix(
    frame: Size, image: Size, *, degrees: float = 0.0, scale: float = 1.0, mirror: bool = False
) -> Matrix:
    """Frame pixel -> image pixel: a rotation / scale hypothesis, both centres on each other, undistorted.

    The frame is rotated clockwise on screen against the image by ``degrees``; ``scale`` is image pixels per
    frame pixel, relative to equal areas; ``mirror`` exchanges left and right.
    """
    scale = scale * np.sqrt(image[0] * image[1] / (frame[0] * frame[1]))
    cos, sin = scale * np.cos(np.deg2rad(degrees)), scale * np.sin(np.deg2rad(degrees))
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    (fy, fx), (iy, ix) = ((np.array(size) - 1) / 2 for size in (frame, image))
    shift = np.array([ix, iy]) - linear @ np.array([fx, fy])
    return np.vstack([np.column_stack([linear, shift]), [0, 0, 1]])


def transformed(matrix: Matrix, x: Array, y: Array) -> tuple[Doubles, Doubles]:
    """Positions ``x``, ``y`` (as they broadcast) under a transform, in float64.

    NaN where a point falls on the horizon or behind the camera (homogeneous depth not positive).
    """
    u, v, depth = (row[0] * x + (row[1] * y + row[2]) for row in matrix)
    # The depth under an affine map is the same everywhere, and may have either sign.
    if (np.abs(matrix[2, :2]) > 1e-8).any():
        depth = np.where(depth > _NEAREST_DEPTH, depth, np.nan)
    return u / depth, v / depth


def apply_transform(matrix: Matrix, points: Array) -> Array:
    """`transformed` of ``points`` ``(..., 2)``, computed in float64, returned in their type."""
    out = np.empty_like(points)
    x, y = points[..., 0].astype(np.float64), points[..., 1].astype(np.float64)
    out[..., 0], out[..., 1] = transformed(matrix, x, y)
    return out


def shown_area(matrix: Matrix, size: Size, image: Size) -> Mask:
    """``(H, W)``, the pixels of a frame of ``size`` that a transform puts into what an ``image`` covers.

    Those in front of the camera whose position is `inside` its ``areas``.
    """
    u, v, depth = matrix if (np.abs(matrix[2, :2]) > 1e-8).any() else matrix * (np.sign(matrix[2, 2]) or 1.0)
    bounds = (depth / 2 + u, (image[1] - 0.5) * depth - u, depth / 2 + v, (image[0] - 0.5) * depth - v)
    rows = np.arange(size[0])
    # Convex, because four lines and the horizon bound it: of each row, what lies between two columns.
    left, right = np.zeros(size[0]), np.full(size[0], size[1] - 1.0)
    for by_x, by_y, offset in (*bounds, depth - (0, 0, _NEAREST_DEPTH)):
        along = by_y * rows + offset
        if by_x > 0:
            left = np.maximum(left, -along / by_x)
        elif by_x < 0:
            right = np.minimum(right, -along / by_x)
        else:
            right = np.where(along >= 0, right, -1.0)
    x = np.arange(size[1])
    return np.asarray((x >= left[:, None]) & (x <= right[:, None]))


def corner_motion(transform: Matrix, size: Size) -> float:
    """How far, in pixels, a transform of a frame moves one of its corners at most; infinite if nowhere."""
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * (size[1] - 1.0, size[0] - 1.0)
    moved = apply_transform(transform, corners) - corners
    return float(np.nan_to_num(np.linalg.norm(moved, axis=1), nan=np.inf).max())


def transform_fault(matrix: Matrix, size: Size, *, mirror: bool = True) -> str | None:
    """Why a transform frame -> image shows no picture of a frame of ``size``; None when it is plausible.

    What it does wrong, as the end of a sentence: "is not finite", "puts the horizon inside the picture",
    "changes the scale more than 50 times" (lengths at a corner), or, unless it may ``mirror``, "mirrors the
    picture". Under any other the frame stays convex.
    """
    if not np.isfinite(matrix).all():
        return "is not finite"
    right, bottom = size[1] - 1, size[0] - 1
    corners = np.array([[0, 0, 1], [right, 0, 1], [right, bottom, 1], [0, bottom, 1]], np.float64)
    depth = corners @ matrix[2]
    if not (depth * np.sign(depth[0]) > 1e-6 * np.abs(depth).max()).all():
        return "puts the horizon inside the picture"
    # The root of the area change det / depth^3.
    scales = np.sqrt(np.abs(np.linalg.det(matrix) / depth**3))
    if not ((scales >= 1 / SCALE_LIMIT) & (scales <= SCALE_LIMIT)).all():
        return f"changes the scale more than {SCALE_LIMIT:g} times"
    if not mirror and np.linalg.det(matrix) * depth[0] < 0:
        return "mirrors the picture"
    return None


def transform_flow(matrix: Matrix, size: Size, out: Field | None = None) -> Field:
    """``x -> M x - x`` on a frame of ``size``: the flow of a transform target -> source.

    NaN at and beyond the horizon, seen from the side on which the centre of the frame is. Written to ``out``
    where that is given.
    """
    height, width = size
    centre = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    matrix = matrix * (np.sign(matrix[2] @ centre) or 1.0)
    out = np.empty((height, width, 2), np.float32) if out is None else out
    x = np.arange(width, dtype=np.float64)
    for top, bottom in strips(size):
        y = np.arange(top, bottom, dtype=np.float64)[:, None]
        there_x, there_y = transformed(matrix, x, y)
        out[top:bottom, :, 0], out[top:bottom, :, 1] = there_x - x, there_y - y
    return out


def sample(field: Array, x: Array, y: Array, *, outside: Literal["nan", "edge"] = "nan") -> Doubles:
    """Bilinear values of ``field`` at positions ``(x, y)``.

    In float64 and written out, because OpenCV rounds positions to 1/32 px (4.x always, 5.0 for two channels).
    A neighbour that is NaN makes the value NaN only where its weight is not zero.

    Of a field ``(H, W)`` or ``(H, W, C)``: float64 of the shape of ``x`` and ``y`` (``+ (C,)``); at NaN, NaN.
    Outside of the frame NaN as well, or the value of the nearest pixel (``"edge"``).
    """
    height, width = field.shape[:2]
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    readable = inside(x, y, (height, width)) if outside == "nan" else np.isfinite(x) & np.isfinite(y)
    x = np.clip(np.where(readable, x, 0.0), 0, width - 1)
    y = np.clip(np.where(readable, y, 0.0), 0, height - 1)
    left, top = x.astype(np.intp), y.astype(np.intp)
    fx, fy = x - left, y - top
    corners = [
        (row * width + column, (share * weight)[..., None])
        for row, share in ((top, 1 - fy), (np.minimum(top + 1, height - 1), fy))
        for column, weight in ((left, 1 - fx), (np.minimum(left + 1, width - 1), fx))
    ]
    flat = field.reshape(height * width, -1)
    values = np.zeros((*x.shape, flat.shape[1]))
    for index, weight in corners:
        values += weight * flat.take(index, 0)
    if np.isnan(values).any():
        values[:] = 0
        for index, weight in corners:
            values += np.where(weight > 0, weight * flat.take(index, 0), 0)
    values[~readable] = np.nan
    return values[..., 0] if field.ndim == 2 else values


def resize_flow(flow: Array, size: Size, *, frame: Size | None = None) -> Field:
    """The same motion on a grid of another size, bilinear under the half-pixel convention.

    Source and target are resized alike; the result counts in pixels of ``size``. ``flow`` counts in those of
    a ``frame``, by default its own grid: a flow on cells of the network's answer, in pixels of the working
    size. Unknown (NaN) where a neighbour with a weight is.
    """
    flow = np.asarray(flow, np.float32)
    height, width = frame or flow.shape[:2]
    if flow.shape[:2] != size:
        unknown = np.isnan(flow)
        known = np.where(unknown, np.float32(0), flow) if (holes := unknown.any()) else flow
        resized = cv2.resize(known, size[::-1], interpolation=cv2.INTER_LINEAR)
        if holes:
            share = unknown.any(axis=2).astype(np.float32)
            share = cv2.resize(share, size[::-1], interpolation=cv2.INTER_LINEAR)
            resized[share > 1e-5] = np.nan
        flow = np.asarray(resized, np.float32)
    if (height, width) == size:
        return flow
    unit = np.array([size[1] / width, size[0] / height], np.float32)
    return np.asarray(flow * unit, np.float32)


def to_source_pixels(residual: Field, transform: Matrix) -> Field:
    """Flow target -> source from one target -> transformed source; overwrites ``residual``.

    Args:
        residual: ``(H, W, 2)`` float32 in target pixels.
        transform: target pixel -> source pixel, by which the source was transformed.

    Returns:
        ``(H, W, 2)`` float32 in source pixels: target pixel ``x`` shows ``transform(x + residual(x))``; NaN
        where the transform has no position.
    """
    for top, bottom in strips(size_of(residual)):
        rows = residual[top:bottom]
        x, y = positions(rows, top)
        there_x, there_y = transformed(transform, x, y)
        rows[..., 0] += there_x - x
        rows[..., 1] += there_y - y
    return residual


def forward_backward_error(
    forward: Array, backward: Array, *, cell: int = 1, exists: Mask | None = None
) -> Floats:
    """``|f(x) + b(x + f(x))|``: by how much going to the source and back misses the starting point.

    Of flows target -> source ``(h, w, 2)`` and back ``(h', w', 2)`` in pixels, on a grid of which every
    ``cell`` pixels make one: ``(h, w)`` float32 in pixels; NaN where either flow is unknown, infinite where
    ``x + f(x)`` leaves the area of the source's pixels, or of those that have data (``exists``; None: all).
    """
    out = np.empty(forward.shape[:2], np.float32)
    for top, bottom in strips(size_of(forward)):
        rows = forward[top:bottom]
        x, y = positions(rows / cell, top)
        miss = rows + sample(backward, x, y, outside="edge")
        error = np.sqrt(miss[..., 0] ** 2 + miss[..., 1] ** 2)
        left = ~inside(x, y, size_of(backward), edge="areas")
        error[left & np.isfinite(x)] = np.inf
        if exists is not None:
            known = np.isfinite(error)
            pixels = nearest_pixels(size_of(exists), *((at[known] + 0.5) * cell - 0.5 for at in (x, y)))
            error[known] = np.where(exists[pixels], error[known], np.inf)
        out[top:bottom] = error
    return out


def fill_unknown(values: Array, known: Mask) -> Floats:
    """``(H, W, C)`` float32: values where ``known``, elsewhere a smooth continuation of those around.

    Values and weights are halved to a single pixel, then filled from coarse to fine (pull-push: Gortler et
    al. 1996, The Lumigraph). 0 where nothing is known.
    """
    weight: Array = known.astype(np.float32)
    levels: list[tuple[Array, Array]] = [(np.where(known[..., None], values, 0).astype(np.float32), weight)]
    while max(weight.shape) > 1:
        half = tuple((side + 1) // 2 for side in weight.shape[::-1])
        value, weight = (cv2.resize(part, half, interpolation=cv2.INTER_AREA) for part in levels[-1])
        levels.append((value, weight))
    filled: Array = np.zeros(levels[-1][0].shape, np.float32)
    for value, weight in reversed(levels):
        coarse = cv2.resize(filled, weight.shape[::-1], interpolation=cv2.INTER_LINEAR)
        share = weight[..., None]
        filled = np.where(share > 0, value / np.maximum(share, 1e-6), coarse)
    return filled
