"""Motion drawn with lines: arrows from target to source, and the source's grid as it lies on the target."""

from __future__ import annotations

import math

import cv2
import numpy as np

from glualign.arrays import Doubles, Floats
from glualign.flow import Flow
from glualign.geometry import inside, positions, strips
from glualign.viz.canvas import INK, RGB, Drawing, Picture, background, pen_for, readable

_SHIFT = 4  # OpenCV draws at 1/16 pixel
_ARROW, _ARROW_ON_PAPER = (255, 204, 0), (0, 92, 158)
# Across and down: two of the eight colours that Okabe and Ito chose to be told apart with any colour vision
# (jfly.uni-koeln.de/color); they would vanish on white.
_GRID, _GRID_ON_PAPER = ((86, 180, 233), (230, 159, 0)), ((0, 100, 170), (190, 110, 0))


def arrows(flow: Flow, image: Picture | None = None, *, typical: float | None = None) -> Drawing:
    """Draw the flow as arrows on the (faded) target image, about 26 along the longer side.

    Args:
        flow: the field; unknown pixels get no arrow.
        image: ``(H, W, 3)`` uint8 target image of the flow's size (else a `FlowError`); None draws on white.
        typical: length of the vectors in pixels that the scale, a round number, is to suit; None takes their
            95th percentile.
    """
    canvas = background(image, flow.size)
    line = pen_for(*flow.size).line
    spacing = max(7, round(max(flow.size) / 26))
    counts = (max(1, side // spacing) for side in flow.size)
    ys, xs = (
        ((np.arange(count) + 0.5) * side / count).astype(np.intp)
        for side, count in zip(flow.size, counts, strict=True)
    )
    vectors = flow.data[np.ix_(ys, xs)].astype(np.float64)
    rows, columns = np.nonzero(flow.known[np.ix_(ys, xs)])
    vectors = vectors[rows, columns]
    if typical is None:
        typical = float(np.percentile(np.hypot(*vectors.T), 95)) if vectors.size else 0.0
    scale = _round_scale(1.8 * spacing, typical)
    starts = np.stack([xs[columns], ys[rows]], axis=1).astype(np.float64)
    ends = starts + vectors * scale
    if image is not None:  # all outlines first: no outline then cuts through a neighbour's arrow
        _draw(canvas, starts, ends, line + 2 * max(1, line // 2), spacing, INK)
    _draw(canvas, starts, ends, line, spacing, _ARROW_ON_PAPER if image is None else _ARROW)
    drawn = "true length" if scale == 1 else f"length x {readable(scale)}"
    return Drawing(canvas, (f"From target to source, {drawn}",))


def _round_scale(wanted: float, typical: float) -> float:
    """The factor 1, 2 or 5 times a power of ten that brings ``typical`` to ``wanted`` at most, or near it."""
    if typical <= 0 or 0.5 <= wanted / typical <= 2:  # close enough to draw it as it is
        return 1.0
    rough = wanted / typical * 1.001
    unit = 10.0 ** math.floor(math.log10(rough))
    return unit * max(factor for factor in (1, 2, 5) if unit * factor <= rough)


def _draw(canvas: Picture, starts: Doubles, ends: Doubles, thickness: int, spacing: int, color: RGB) -> None:
    grow = thickness / 2
    for start, end in zip(starts, ends, strict=True):
        length = float(np.hypot(*(end - start)))
        if length < 0.75 * thickness:  # too short to have a direction: a dot
            cv2.circle(canvas, _fixed(start), round(grow * 1.4 * 2**_SHIFT), color, -1, cv2.LINE_AA, _SHIFT)
            continue
        along = (end - start) / length
        across = np.array([-along[1], along[0]])
        head = min(0.5 * length, 0.34 * spacing)
        neck, half = end - along * head, across * (head * 0.5 + grow / 2)
        cv2.line(canvas, _fixed(start), _fixed(neck), color, thickness, cv2.LINE_AA, _SHIFT)
        corners = [_fixed(point) for point in (end + along * grow, neck - half, neck + half)]
        cv2.fillConvexPoly(canvas, np.array(corners, np.int32), color, cv2.LINE_AA, _SHIFT)


def _fixed(point: Doubles) -> tuple[int, int]:
    # Far outside the picture the arrow is clipped anyway; OpenCV's fixed-point numbers must not overflow.
    x, y = np.clip(point, -30000, 60000)
    return round(float(x) * 2**_SHIFT), round(float(y) * 2**_SHIFT)


def deformed_grid(flow: Flow, image: Picture | None = None) -> Drawing:
    """Draw the source's straight grid lines where the flow puts them on the target.

    A vertical line is where ``x + u`` is a multiple of the cell, a horizontal one where ``y + v`` is.
    Straight, even lines mean a smooth map; bunched lines mean compression, loops and tears mean that the
    map folds or jumps. Nothing is drawn where the flow is unknown or leaves the source. The cell is a round
    number of source pixels, about 20 along the longer side; ``image`` as for `arrows`.
    """
    canvas = background(image, flow.size)
    line = pen_for(*flow.size).line
    frame = flow.source_frame
    # On a thumbnail lines closer than this would leave nothing between them.
    rough = 0.8 * max(max(frame) / 20, 7.0 * (line + 1))
    rounds = (float(unit * factor) for unit in (1, 10, 100, 1000, 10000) for factor in (1, 2, 5))
    cell = next((each for each in rounds if each >= rough), rough)
    # Rows of neighbours on both sides let each strip take the same gradient as the whole field would.
    for top, bottom in strips(flow.size):
        first, last = max(0, top - 1), min(flow.height, bottom + 1)
        x, y = (each.astype(np.float32) for each in positions(flow.data[first:last], first))
        # In the source and up to a line's width beyond, so that the lines at its edges are whole.
        on = cv2.dilate(inside(x, y, frame).astype(np.uint8), np.ones((line + 2, line + 2)))
        on = on * np.isfinite(x + y)
        covered = [
            _coverage(place, cell, side - 1, line, on)[top - first : bottom - first]
            for place, side in ((y, frame[0]), (x, frame[1]))
        ]
        for share in covered if image is not None else ():
            _mix(canvas[top:bottom], cv2.dilate(share, np.ones((3, 3))) * np.float32(0.75), INK)
        for share, color in zip(covered, _GRID_ON_PAPER if image is None else _GRID, strict=True):
            _mix(canvas[top:bottom], share, color)
    return Drawing(canvas, (f"Grid of the source every {readable(cell)} px, laid on the target",))


def _coverage(position: Floats, cell: float, last: int, line: int, on: Floats) -> Floats:
    """Share of each pixel, 0 to 1, under the lines at multiples of ``cell`` and at the edge ``last``."""
    slopes = [np.gradient(position, axis=axis) for axis in (0, 1) if position.shape[axis] > 1]
    slope = np.sqrt(sum((each**2 for each in slopes), np.zeros_like(position)))
    # Source pixels to the nearest line, turned into target pixels by the local slope. The floor keeps a
    # line thin where the map stands still and every pixel would lie on it.
    away = np.abs(position - np.rint(position / np.float32(cell)) * np.float32(cell))
    away = np.minimum(away, np.abs(position - last))
    covered = np.clip(0.75 * line + 0.5 - away / np.maximum(slope, 0.05), 0, 1)
    return np.asarray(np.nan_to_num(covered) * on, np.float32)


def _mix(canvas: Picture, share: Floats, color: RGB) -> None:
    mixed = canvas + share[..., None] * (np.asarray(color, np.float32) - canvas)
    canvas[:] = np.rint(mixed).astype(np.uint8)
