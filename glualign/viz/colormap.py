"""Numbers as colours that every kind of colour vision can order, and the scale bar that explains them."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from glualign.arrays import Bytes, Floats, Mask
from glualign.geometry import strips
from glualign.viz.canvas import Picture, Strip, fitting_size, pen_for, readable, text_width

Colormap = Literal["viridis", "cividis", "inferno", "balance"]

_OPENCV = {"viridis": cv2.COLORMAP_VIRIDIS, "cividis": cv2.COLORMAP_CIVIDIS, "inferno": cv2.COLORMAP_INFERNO}
# Blue to orange through light grey: equal steps in lightness on both sides, apart for red-green blindness.
_BALANCE = ((23, 92, 168), (110, 170, 219), (242, 242, 240), (244, 174, 82), (190, 88, 0))
_STRIPES = np.array([[232] * 3, [176] * 3], np.uint8)


@lru_cache(maxsize=8)
def palette(name: Colormap) -> Bytes:
    """The 256 colours of a map, ``(256, 3)`` RGB, from low to high."""
    if name == "balance":
        anchors = np.asarray(_BALANCE, np.float64)
        at = np.linspace(0, 255, len(anchors))
        channels = [np.interp(np.arange(256), at, anchors[:, c]) for c in range(3)]
        return np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, _OPENCV[name])[:, 0, ::-1])


def colorize(values: Floats, low: float, high: float, name: Colormap = "viridis") -> Picture:
    """Colour ``(H, W)`` values from ``low`` to ``high``; beyond both ends the end's colour, NaN striped grey.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    colors = palette(name)
    rgb = np.empty((*values.shape, 3), np.uint8)
    height, width = values.shape
    for top, bottom in strips((height, width)):
        rows = slice(top, bottom)
        share = (values[rows].astype(np.float32) - np.float32(low)) * np.float32(255 / ((high - low) or 1.0))
        rgb[rows] = colors[np.rint(np.nan_to_num(np.clip(share, 0, 255), nan=0.0)).astype(np.uint8)]
    unknown = np.isnan(values)
    return striped(rgb, unknown) if unknown.any() else rgb


def striped(picture: Picture, where: Mask) -> Picture:
    """The picture with grey diagonal stripes where ``where`` holds: no data, in no map's colours."""
    height, width = picture.shape[:2]
    period = 2 + 3 * pen_for(height, width).line
    result = picture.copy()
    for top, bottom in strips((height, width)):
        odd = (np.arange(top, bottom)[:, None] + np.arange(width)) // period % 2
        shown = where[top:bottom]
        result[top:bottom][shown] = _STRIPES[odd[shown]]
    return result


def with_scale(
    picture: Picture, low: float, high: float, name: Colormap, title: str, labels: tuple[str, str, str]
) -> Picture:
    """The picture with a titled scale bar below it.

    Args:
        picture: ``(H, W, 3)`` uint8.
        low: value at the left end.
        high: value at the right end.
        name: the map it was coloured with.
        title: what the values are, with the unit.
        labels: of the left end, the middle and the right end.
    """
    height, width = picture.shape[:2]
    pen = pen_for(height, width)
    left, right = 2 * pen.gap, width - 2 * pen.gap
    bar, row = max(5, round(pen.text * 0.7)), round(pen.text * 1.35)
    size = fitting_size(title, right - left, pen.text)
    top = pen.gap + (row if size else 0)
    strip = Strip(width, top + bar + row + 2 * pen.gap)
    if size:
        strip.text(left, pen.gap + row / 2, title, size)
    ramp = np.rint(np.linspace(0, 255, max(2, right - left))).astype(np.intp)
    strip.paste(left, top, np.repeat(palette(name)[ramp][None], bar, axis=0))
    lengths = [text_width(label, pen.text) for label in labels]
    if lengths[0] + lengths[2] + pen.gap <= right - left:
        strip.text(left, top + bar + pen.gap + row / 2, labels[0], pen.text)
    if sum(lengths) + max(lengths) + 2 * pen.gap <= right - left:
        strip.text(width / 2, top + bar + pen.gap + row / 2, labels[1], pen.text, "m")
    strip.text(max(right, lengths[2]), top + bar + pen.gap + row / 2, labels[2], pen.text, "r")
    return strip.under(picture)


def number_labels(low: float, high: float, *, open_ended: bool = False) -> tuple[str, str, str]:
    """Labels of a scale of numbers; with a plus sign if larger values than ``high`` occur."""
    return readable(low), readable((low + high) / 2), readable(high) + ("+" if open_ended else "")
