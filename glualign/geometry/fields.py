"""Flow fields as arrays ``(H, W, 2)``: made from a transform, read between pixels, resized, compared."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from glualign.arrays import Array, Doubles, Floats, Mask
from glualign.geometry.frames import Matrix, Size, apply_transform, inside, pixel_grid, positions, strips

Field = Floats
"""``(H, W, 2)`` float32: x and y of a displacement or of a position."""


def transform_flow(matrix: Matrix, size: Size, out: Field | None = None) -> Field:
    """``x -> M x - x`` on a frame of ``size``: the flow of a transform target -> source.

    NaN at and beyond the horizon, seen from the side on which the centre of the frame is. Written to ``out``
    where that is given.
    """
    height, width = size
    centre = np.array([(width - 1) / 2, (height - 1) / 2, 1.0])
    matrix = matrix * (np.sign(matrix[2] @ centre) or 1.0)
    out = np.empty((height, width, 2), np.float32) if out is None else out
    for top, bottom in strips(size):
        here = pixel_grid((bottom - top, width), top=top).astype(np.float64)
        out[top:bottom] = apply_transform(matrix, here) - here
    return out


def sample(field: Array, x: Array, y: Array, *, outside: Literal["nan", "edge"] = "nan") -> Doubles:
    """Bilinear values of ``field`` at positions ``(x, y)``.

    In float64 and written out, because OpenCV rounds positions to 1/32 px (4.x always, 5.0 for two channels).
    A neighbour that is NaN makes the value NaN only where its weight is not zero.

    Args:
        field: ``(H, W)`` or ``(H, W, C)``.
        x: columns, any shape; NaN gives NaN.
        y: rows, same shape.
        outside: ``"nan"``, or ``"edge"`` to read the nearest pixel of the frame.

    Returns:
        float64 of the shape of ``x`` (``+ (C,)``).
    """
    height, width = field.shape[:2]
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    readable = inside(x, y, (height, width)) if outside == "nan" else np.isfinite(x) & np.isfinite(y)
    x = np.clip(np.where(readable, x, 0.0), 0, width - 1)
    y = np.clip(np.where(readable, y, 0.0), 0, height - 1)
    left, top = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    right, below = (left < width - 1).astype(np.intp), np.where(top < height - 1, width, 0)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    flat = field.reshape(height * width, -1)
    corner = top * width + left
    upper = _between(flat.take(corner, 0), flat.take(corner + right, 0), fx)
    corner += below
    lower = _between(flat.take(corner, 0), flat.take(corner + right, 0), fx)
    values = _between(upper, lower, fy)
    values[~readable] = np.nan
    return values[..., 0] if field.ndim == 2 else values


def _between(first: Array, second: Array, share: Doubles) -> Doubles:
    """Linear interpolation; ``first`` where ``share`` is 0, whatever ``second`` is there (0 * NaN is NaN)."""
    values = first + share * (second - first)
    if np.isnan(values).any():
        values = np.where(share == 0, first, values)
    return np.asarray(values, np.float64)


def resize_flow(flow: Array, size: Size, *, frame: Size | None = None) -> Field:
    """The same motion on a grid of another size, bilinear under the half-pixel convention.

    Args:
        flow: ``(H, W, 2)``; source and target are resized alike.
        size: new ``(height, width)``.
        frame: ``(height, width)`` in whose pixels ``flow`` counts; None: its own grid. A flow on cells of
            the network's answer counts in pixels of the working size.

    Returns:
        ``(*size, 2)`` float32 in pixels of ``size``. Unknown (NaN) where a neighbour with a weight is.
    """
    given = flow = np.asarray(flow, np.float32)
    height, width = frame or flow.shape[:2]
    if flow.shape[:2] != size:
        unknown = np.isnan(flow).any(axis=2)
        known = np.where(unknown[..., None], np.float32(0), flow) if unknown.any() else flow
        resized = cv2.resize(known, size[::-1], interpolation=cv2.INTER_LINEAR)
        if unknown.any():
            share = cv2.resize(unknown.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
            resized[share > 1e-5] = np.nan
        flow = np.asarray(resized, np.float32)
    if (height, width) == size:
        return flow
    unit = np.array([size[1] / width, size[0] / height], np.float32)
    return np.asarray(np.multiply(flow, unit, out=None if flow is given else flow), np.float32)


def forward_backward_error(forward: Array, backward: Array, *, cell: int = 1) -> Floats:
    """``|f(x) + b(x + f(x))|``: by how much going to the source and back misses the starting point.

    Args:
        forward: ``(h, w, 2)`` target -> source, in pixels.
        backward: ``(h', w', 2)`` source -> target, in pixels.
        cell: pixels from one cell to the next, where the flows are on a coarser grid than their pixels.

    Returns:
        ``(h, w)`` float32 in pixels; NaN where either flow is unknown, infinite where ``x + f(x)`` leaves the
        area of the source's pixels.
    """
    out = np.empty(forward.shape[:2], np.float32)
    for top, bottom in strips((forward.shape[0], forward.shape[1])):
        rows = forward[top:bottom]
        x, y = positions(rows / cell, top)
        error = np.linalg.norm(rows + sample(backward, x, y, outside="edge"), axis=2)
        left = ~inside(x, y, (backward.shape[0], backward.shape[1]), edge="areas")
        error[left & np.isfinite(x)] = np.inf
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
