"""Two images in one picture: how well does the warped source lie on the target?

All functions take pictures ``(H, W, 3)`` uint8 on the target's grid. Where ``valid`` is false there is no
source to compare with: the target is shown there, faded, in every style alike.
"""

from __future__ import annotations

import cv2
import numpy as np

from glualign.arrays import Mask
from glualign.viz.canvas import Picture, Strip, blank, faded, fitting_size, grey, pen_for, with_caption


def blend(target: Picture, warped: Picture, valid: Mask | None = None, share: float = 0.5) -> Picture:
    """Mix both images, ``share`` of the warped source: misaligned edges show double."""
    mixed = np.asarray(cv2.addWeighted(target, 1 - share, warped, share, 0), np.uint8)
    return filled(mixed, target, valid)


def checkerboard(target: Picture, warped: Picture, valid: Mask | None = None, cells: int = 8) -> Picture:
    """Alternate both images in squares, ``cells`` along the longer side: misaligned edges break there."""
    height, width = target.shape[:2]
    side = max(1, round(max(height, width) / cells))
    other = ((np.arange(height)[:, None] // side + np.arange(width) // side) % 2).astype(bool)
    return filled(np.where(other[..., None], warped, target), target, valid)


def red_cyan(target: Picture, warped: Picture, valid: Mask | None = None) -> Picture:
    """Target in red, warped source in cyan: grey where they agree, coloured fringes where they do not."""
    red = cv2.cvtColor(target, cv2.COLOR_RGB2GRAY)
    cyan = cv2.cvtColor(warped, cv2.COLOR_RGB2GRAY)
    return filled(np.dstack([red, cyan, cyan]), target, valid)


def flicker_frames(target: Picture, warped: Picture, valid: Mask | None = None) -> tuple[Picture, Picture]:
    """The two frames to show in turn, each with its name below: whatever is misaligned jumps.

    Pixels without a valid source are the same in both, so that nothing blinks where nothing is known.
    """
    first, second = filled(target, target, valid), filled(warped, target, valid)
    return with_caption(first, "Target"), with_caption(second, "Source, warped")


def side_by_side(panels: list[tuple[str, Picture]]) -> Picture:
    """Pictures next to each other at the height of the last (the target), each with its name below.

    The last one keeps its pixels; the others are resized, keeping their proportions.
    """
    height = panels[-1][1].shape[0]
    gap = max(2, 2 * pen_for(height, panels[-1][1].shape[1]).line)
    columns: list[Picture] = []
    for position, (_, picture) in enumerate(panels):
        width = max(1, round(picture.shape[1] * height / picture.shape[0]))
        columns.append(resized(picture, height, width))
        if position < len(panels) - 1:
            columns.append(blank(height, gap))
    body = np.concatenate(columns, axis=1)
    pen = pen_for(height, body.shape[1])
    strip = Strip(body.shape[1], round(pen.text * 1.35) + 2 * pen.gap)
    left = 0
    for (name, _), column in zip(panels, columns[::2], strict=True):
        size = fitting_size(name, column.shape[1] - 2 * pen.gap, pen.text)
        if size:
            strip.text(left + column.shape[1] / 2, strip.image.height / 2, name, size, "m")
        left += column.shape[1] + gap
    return strip.under(body)


def shrunk(picture: Picture, max_side: int | None) -> Picture:
    """The picture with its longer side at most ``max_side`` pixels."""
    height, width = picture.shape[:2]
    factor = (max_side or max(height, width)) / max(height, width)
    if factor >= 1:
        return picture
    return resized(picture, max(1, round(height * factor)), max(1, round(width * factor)))


def resized(picture: Picture, height: int, width: int) -> Picture:
    """The picture at another size; itself where it has that size."""
    if picture.shape[:2] == (height, width):
        return picture
    how = cv2.INTER_AREA if height < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)


def filled(picture: Picture, target: Picture, valid: Mask | None) -> Picture:
    """The picture where ``valid``, and the faded target elsewhere."""
    if valid is None or valid.all():
        return picture
    return np.where(valid[..., None], picture, faded(grey(target), 0.6, 200))
