"""Numbers as colours that every kind of colour vision can order, and the scale bar that explains them."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from glualign.viz.canvas import FAINT, INK, Pen, Picture, Strip, fit_text, pen_for, readable, text_width

Colormap = Literal["viridis", "cividis", "inferno", "balance"]

_OPENCV = {"viridis": cv2.COLORMAP_VIRIDIS, "cividis": cv2.COLORMAP_CIVIDIS, "inferno": cv2.COLORMAP_INFERNO}
# Blue to orange through light grey: equal steps in lightness on both sides, apart for red-green blindness.
_BALANCE = ((23, 92, 168), (110, 170, 219), (242, 242, 240), (244, 174, 82), (190, 88, 0))
_STRIPES = (np.array((232, 232, 232), np.uint8), np.array((176, 176, 176), np.uint8))
_STRIP_PIXELS = 1 << 22


@lru_cache(maxsize=8)
def palette(name: Colormap) -> npt.NDArray[np.uint8]:
    """The 256 colours of a map, ``(256, 3)`` RGB, from low to high."""
    if name == "balance":
        anchors = np.asarray(_BALANCE, np.float64)
        at = np.linspace(0, 255, len(anchors))
        channels = [np.interp(np.arange(256), at, anchors[:, c]) for c in range(3)]
        return np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, _OPENCV[name])[:, 0, ::-1])


def colorize(values: npt.NDArray[np.float32], low: float, high: float, name: Colormap = "viridis") -> Picture:
    """Colour ``(H, W)`` values from ``low`` to ``high``; beyond both ends the end's colour, NaN striped grey.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    colors = palette(name)
    rgb = np.empty((*values.shape, 3), np.uint8)
    span = (high - low) or 1.0
    step = max(1, _STRIP_PIXELS // max(1, values.shape[1]))
    for top in range(0, values.shape[0], step):
        part = (values[top : top + step].astype(np.float32) - np.float32(low)) * np.float32(255 / span)
        index = np.nan_to_num(np.clip(part, 0, 255), nan=0.0)
        rgb[top : top + step] = colors[np.rint(index).astype(np.uint8)]
    unknown = np.isnan(values)
    return striped(rgb, unknown) if unknown.any() else rgb


def striped(picture: Picture, where: npt.NDArray[np.bool_]) -> Picture:
    """The picture with grey diagonal stripes where ``where`` holds: no data, in no map's colours."""
    height, width = picture.shape[:2]
    period = 2 + 3 * pen_for(height, width).line
    result = picture.copy()
    step = max(1, _STRIP_PIXELS // max(1, width))
    columns = np.arange(width)
    for top in range(0, height, step):
        part = where[top : top + step]
        rows = np.arange(top, top + part.shape[0])[:, None]
        odd = ((rows + columns) // period % 2).astype(bool)
        result[top : top + step][part & ~odd] = _STRIPES[0]
        result[top : top + step][part & odd] = _STRIPES[1]
    return result


def with_scale(
    picture: Picture,
    low: float,
    high: float,
    name: Colormap,
    title: tuple[str, ...],
    *,
    labels: dict[float, str] | None = None,
    open_ended: bool = False,
    pen: Pen | None = None,
) -> Picture:
    """The picture with a titled scale bar below it.

    Args:
        picture: ``(H, W, 3)`` uint8.
        low: value at the left end.
        high: value at the right end.
        name: the map it was coloured with.
        title: wordings of the title, with the unit, from the fullest to the shortest.
        labels: value -> label of the ticks; None puts round numbers.
        open_ended: larger values than ``high`` occur; its label gets a plus sign.
        pen: sizes; None takes those for the picture.
    """
    height, width = picture.shape[:2]
    pen = pen or pen_for(height, width)
    left, right = 2 * pen.gap, width - 2 * pen.gap
    bar = max(5, round(pen.text * 0.7))
    heading = fit_text(title, width - 2 * left, pen.text)
    row = round(pen.text * 1.35)
    top = pen.gap + (row if heading else 0) + round(pen.gap * 0.4)
    strip = Strip(width, top + bar + pen.gap + row + pen.gap // 2)
    if heading:
        strip.text(left, pen.gap + row / 2, heading[0], heading[1])
    ramp = np.rint(np.linspace(0, 255, max(2, right - left))).astype(np.intp)
    strip.paste(left, top, np.repeat(palette(name)[ramp][None], bar, axis=0))
    middle = top + bar + pen.gap * 0.7 + row / 2
    ticks = labels or round_ticks(low, high, right - left, pen.text, open_ended)
    for value, x, text in _without_overlap(ticks, low, high, left, right, pen):
        at = left + (value - low) / ((high - low) or 1) * (right - left - 1)
        strip.line((at, top + bar), (at, top + bar + pen.gap * 0.5), max(1, pen.line // 2), INK)
        strip.text(x, middle, text, pen.text, FAINT if labels is None else INK)
    return strip.under(picture)


def round_ticks(low: float, high: float, width: int, size: int, open_ended: bool = False) -> dict[float, str]:
    """Round values from ``low`` to ``high`` with their labels: both ends and as many as have room."""
    end = readable(high) + ("+" if open_ended else "")
    ticks = {low: readable(low), high: end}
    room = max(1, width // max(1, text_width(end + "00", size)))
    span = high - low
    if span <= 0 or room < 2:
        return ticks
    step = _round_step(span / min(room, 6))
    value = math.ceil(low / step) * step
    while value < high:
        ticks.setdefault(round(value, 9), readable(round(value, 9)))
        value += step
    return ticks


def _round_step(rough: float) -> float:
    unit = 10.0 ** math.floor(math.log10(rough))
    return float(next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999))


def _without_overlap(
    ticks: dict[float, str], low: float, high: float, left: int, right: int, pen: Pen
) -> list[tuple[float, float, str]]:
    """(value, left edge, text) of the labels that have room; the upper end comes first, then the lower."""
    span = (high - low) or 1.0
    taken: list[tuple[float, float]] = []
    placed = []
    for value in sorted(ticks, key=lambda v: (v != high, v != low, v)):
        wide = text_width(ticks[value], pen.text)
        x = left + (value - low) / span * (right - left - 1) - wide / 2
        x = min(max(x, left), right - wide)
        if x < 0 or any(x < b + pen.gap and a < x + wide + pen.gap for a, b in taken):
            continue
        taken.append((x, x + wide))
        placed.append((value, x, ticks[value]))
    return placed
