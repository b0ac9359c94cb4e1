"""Reading a field between its pixels, exactly and with unknown pixels kept unknown."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from glualign.flow.field import EDGE_TOLERANCE


def sample(
    field: npt.NDArray[Any], x: npt.NDArray[Any], y: npt.NDArray[Any], *, outside: str = "nan"
) -> npt.NDArray[np.float64]:
    """Bilinear values of ``field`` at positions ``(x, y)``.

    In float64 and written out, because OpenCV 4 rounds positions to 1/32 px. A neighbour that is NaN
    makes the value NaN only where its weight is not zero.

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
    lost = ~(np.isfinite(x) & np.isfinite(y))
    if outside == "nan":
        edge = EDGE_TOLERANCE
        lost |= (x < -edge) | (x > width - 1 + edge) | (y < -edge) | (y > height - 1 + edge)
    x = np.clip(np.where(lost, 0.0, x), 0, width - 1)
    y = np.clip(np.where(lost, 0.0, y), 0, height - 1)
    left, top = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    fx, fy = x - left, y - top
    flat = field.reshape(height * width, -1)
    total = np.zeros((*x.shape, flat.shape[1]))
    for row, row_weight in ((top, 1 - fy), (bottom, fy)):
        for column, column_weight in ((left, 1 - fx), (right, fx)):
            weight = (row_weight * column_weight)[..., None]
            values = flat[row * width + column]
            # 0 * NaN is NaN: a neighbour without weight must not spoil the value.
            total += np.where(weight > 0, values * weight, 0.0)
    total[lost] = np.nan
    return total[..., 0] if field.ndim == 2 else total
