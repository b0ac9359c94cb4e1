"""Flow as arrows: from a target pixel towards the place in the source that it shows."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Doubles
from glualign.flow import Flow
from glualign.viz.canvas import INK, Picture, background, pen_for, readable, with_caption

_SHIFT = 4  # OpenCV draws at 1/16 pixel
_FILL = (255, 204, 0)
_FACTORS = (1, 2, 5)


def arrows(
    flow: Flow,
    image: Picture | None = None,
    *,
    spacing: int | None = None,
    scale: float | None = None,
    legend: bool = True,
) -> Picture:
    """Draw the flow as arrows on the (faded) target image.

    Args:
        flow: the field; unknown pixels get no arrow.
        image: ``(H, W, 3)`` uint8 target image of the flow's size; None draws on white.
        spacing: distance between arrows in pixels; None takes about 26 along the longer side.
        scale: drawn length per pixel of flow; None takes the round number that suits the spacing.
        legend: say the scale below the picture.

    Returns:
        ``(H, W, 3)`` uint8 RGB, with the legend taller.

    Raises:
        FlowError: the image's size differs from the flow's.
    """
    height, width = flow.size
    canvas = background(image, flow.size)
    pen = pen_for(height, width)
    spacing = spacing or _spacing(flow.size)
    xs = _centred(width, spacing)
    ys = _centred(height, spacing)
    vectors = flow.data[np.ix_(ys, xs)]
    usable = flow.known[np.ix_(ys, xs)]
    lengths = np.hypot(vectors[..., 0], vectors[..., 1])[usable]
    if scale is None:
        scale = _round_scale(1.8 * spacing, float(np.percentile(lengths, 95)) if lengths.size else 0.0)
    rows, columns = np.nonzero(usable)
    starts = np.stack([xs[columns], ys[rows]], axis=1).astype(np.float64)
    ends = starts + vectors[rows, columns].astype(np.float64) * scale
    # All outlines first: no outline then cuts through a neighbour's arrow.
    outlined = image is not None
    if outlined:
        _draw(canvas, starts, ends, pen.line + 2 * max(1, pen.line // 2), spacing, INK)
    _draw(canvas, starts, ends, pen.line, spacing, _FILL if outlined else (0, 92, 158))
    if not legend:
        return canvas
    drawn = "true length" if scale == 1 else f"length x {readable(scale)}"
    return with_caption(canvas, f"From target to source, {drawn}")


def arrow_scale(size: tuple[int, int], typical: float) -> float:
    """Drawn length per pixel of flow that suits a field of that size whose vectors are ``typical`` pixels."""
    return _round_scale(1.8 * _spacing(size), typical)


def _spacing(size: tuple[int, int]) -> int:
    return max(7, round(max(size) / 26))


def _centred(length: int, spacing: int) -> npt.NDArray[np.intp]:
    count = max(1, length // spacing)
    return ((np.arange(count) + 0.5) * length / count).astype(np.intp)


def _round_scale(wanted: float, typical: float) -> float:
    if typical <= 0:
        return 1.0
    rough = wanted / typical
    if 0.5 <= rough <= 2:  # close enough to draw it as it is
        return 1.0
    unit = 10.0 ** math.floor(math.log10(rough))
    return max(unit * factor for factor in _FACTORS if unit * factor <= rough * 1.001)


def _draw(
    canvas: Picture, starts: Doubles, ends: Doubles, thickness: int, spacing: int, color: tuple[int, int, int]
) -> None:
    grow = thickness / 2
    for start, end in zip(starts, ends, strict=True):
        length = float(np.hypot(*(end - start)))
        if length < 0.75 * thickness:  # too short to have a direction: a dot
            cv2.circle(canvas, _fixed(start), round(grow * 1.4 * 2**_SHIFT), color, -1, cv2.LINE_AA, _SHIFT)
            continue
        along = (end - start) / length
        across = np.array([-along[1], along[0]])
        head = min(0.5 * length, 0.34 * spacing)
        neck = end - along * head
        cv2.line(canvas, _fixed(start), _fixed(neck), color, thickness, cv2.LINE_AA, _SHIFT)
        tip = [
            end + along * grow,
            neck - across * (head * 0.5 + grow / 2),
            neck + across * (head * 0.5 + grow / 2),
        ]
        corners = np.array([_fixed(point) for point in tip], np.int32)
        cv2.fillConvexPoly(canvas, corners, color, cv2.LINE_AA, _SHIFT)


def _fixed(point: Doubles) -> tuple[int, int]:
    # Far outside the picture the arrow is clipped anyway; OpenCV's fixed-point numbers must not overflow.
    x, y = np.clip(point, -30000, 60000)
    return round(float(x) * 2**_SHIFT), round(float(y) * 2**_SHIFT)
