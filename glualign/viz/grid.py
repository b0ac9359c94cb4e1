"""The deformed grid: graph paper glued to the source, as it lies on the target after the alignment."""

from __future__ import annotations

import cv2
import numpy as np

from glualign.arrays import Floats
from glualign.flow import Flow
from glualign.geometry import inside, positions, strips
from glualign.viz.canvas import INK, ORANGE, RGB, SKY, Picture, background, pen_for, readable, with_caption

_ON_PAPER = {ORANGE: (190, 110, 0), SKY: (0, 100, 170)}  # the bright colours vanish on white


def deformed_grid(
    flow: Flow, image: Picture | None = None, *, cell: float | None = None, legend: bool = True
) -> Picture:
    """Draw the source's straight grid lines where the flow puts them on the target.

    A vertical line is where ``x + u`` is a multiple of the cell, a horizontal one where ``y + v`` is.
    Straight, even lines mean a smooth map; bunched lines mean compression, loops and tears mean that the
    map folds or jumps.

    Args:
        flow: the field; nothing is drawn where it is unknown or leaves the source.
        image: ``(H, W, 3)`` uint8 target image of the flow's size; None draws on white.
        cell: side of a cell in source pixels; None takes the round number that gives about 20 along the
            longer side.
        legend: say the cell's size below the picture.

    Raises:
        FlowError: the image's size differs from the flow's.
    """
    height, width = flow.size
    canvas = background(image, flow.size)
    pen = pen_for(height, width)
    source_height, source_width = flow.source_frame
    # On a thumbnail lines closer than this would leave nothing between them.
    cell = cell or _round_cell(max(max(source_height, source_width) / 20, 7.0 * (pen.line + 1)))
    # Rows of neighbours on both sides let each strip take the same gradient as the whole field would.
    for top, bottom in strips(flow.size):
        first, last = max(0, top - 1), min(height, bottom + 1)
        x, y = (each.astype(np.float32) for each in positions(flow.data[first:last], first))
        inner = slice(top - first, bottom - first)
        on = _inside(x, y, source_height, source_width, pen.line)
        lines = [
            (_coverage(y, cell, source_height - 1, pen.line, on)[inner], SKY),
            (_coverage(x, cell, source_width - 1, pen.line, on)[inner], ORANGE),
        ]
        for halo, covered, color in [(True, *line) for line in lines] + [(False, *line) for line in lines]:
            if halo and image is not None:
                _mix(canvas[top:bottom], cv2.dilate(covered, np.ones((3, 3))) * np.float32(0.75), INK)
            elif not halo:
                _mix(canvas[top:bottom], covered, color if image is not None else _ON_PAPER[color])
    if not legend:
        return canvas
    return with_caption(canvas, f"Grid of the source every {readable(cell)} px, laid on the target")


def _inside(x: Floats, y: Floats, height: int, width: int, line: int) -> Floats:
    """1 in the source and up to a line's width beyond, so that the lines at its edges are whole."""
    on = inside(x, y, (height, width))
    wide = cv2.dilate(on.astype(np.uint8), np.ones((line + 2, line + 2)))
    return np.asarray(wide * np.isfinite(x + y), np.float32)


def _coverage(position: Floats, cell: float, last: int, line: int, on: Floats) -> Floats:
    """Share of each pixel, 0 to 1, under the lines at multiples of ``cell`` and at the edge ``last``."""
    slope = np.zeros_like(position)
    for axis in (0, 1):
        if position.shape[axis] > 1:
            slope += np.gradient(position, axis=axis) ** 2
    slope = np.sqrt(slope)
    # Source pixels to the nearest line, turned into target pixels by the local slope. The floor keeps a
    # line thin where the map stands still and every pixel would lie on it.
    away = np.abs(position - np.rint(position / np.float32(cell)) * np.float32(cell))
    away = np.minimum(away, np.abs(position - last))
    covered = np.clip(0.75 * line + 0.5 - away / np.maximum(slope, 0.05), 0, 1)
    return np.asarray(np.nan_to_num(covered, nan=0.0) * on, np.float32)


def _mix(canvas: Picture, share: Floats, color: RGB) -> None:
    mixed = canvas + share[..., None] * (np.asarray(color, np.float32) - canvas)
    canvas[:] = np.rint(mixed).astype(np.uint8)


def _round_cell(rough: float) -> float:
    for unit in (1, 10, 100, 1000, 10000):
        for factor in (1, 2, 5):
            if unit * factor >= rough * 0.8:
                return float(unit * factor)
    return rough
