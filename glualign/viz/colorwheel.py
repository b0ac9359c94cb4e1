"""Flow as colour: hue is the direction, saturation the length, on the Middlebury wheel.

The wheel is the one of Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011
(section 4.2 and the code that came with it), so that pictures compare with those in the literature.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from glualign.arrays import Bytes, Floats, Mask
from glualign.errors import FlowError
from glualign.flow import Flow
from glualign.geometry import strips
from glualign.viz.canvas import Picture, Strip, fitting_size, pen_for, readable

# Steps between the six corner hues; the eye separates some neighbours better than others.
_SEGMENTS = (
    (15, (255, 0, 0), (255, 255, 0)),  # red to yellow
    (6, (255, 255, 0), (0, 255, 0)),  # yellow to green
    (4, (0, 255, 0), (0, 255, 255)),  # green to cyan
    (11, (0, 255, 255), (0, 0, 255)),  # cyan to blue
    (13, (0, 0, 255), (255, 0, 255)),  # blue to magenta
    (6, (255, 0, 255), (255, 0, 0)),  # magenta to red
)
_BEYOND = 0.75  # flow longer than the maximum is darkened by this, so that it cannot pass for the maximum


def wheel_colors() -> Bytes:
    """The 55 colours of the wheel, ``(55, 3)`` RGB, in order of direction."""
    rows = []
    for count, first, last in _SEGMENTS:
        step = np.arange(count)[:, None] / count
        rows.append(np.floor(np.asarray(first) + step * (np.asarray(last) - np.asarray(first))))
    return np.concatenate(rows).astype(np.uint8)


def flow_to_rgb(flow: Flow | npt.NDArray[np.floating[Any]], max_flow: float | None = None) -> Bytes:
    """Colour a flow field: white is no motion, full colour is ``max_flow`` pixels, darker is beyond it.

    Args:
        flow: `Flow`, or an array ``(H, W, 2)`` of (u, v) in pixels; NaN, infinite or absurdly large
            (above 1e9, the ``.flo`` mark) values are unknown, and black as in the literature.
        max_flow: length in pixels that gets full colour; None takes the longest known vector.

    Returns:
        ``(H, W, 3)`` uint8 RGB.

    Raises:
        FlowError: the array is not ``(H, W, 2)``, or ``max_flow`` is not a positive number.
    """
    data = as_uv(flow)
    if max_flow is None:
        max_flow = longest(data) or 1.0  # no motion at all: any scale paints it white
    elif not (np.isfinite(max_flow) and max_flow > 0):
        raise FlowError(f"the maximum flow must be a positive number of pixels, not {max_flow}")
    wheel = wheel_colors().astype(np.float32) / np.float32(255)
    rgb = np.empty((*data.shape[:2], 3), np.uint8)
    for top, bottom in strips((data.shape[0], data.shape[1])):
        rgb[top:bottom] = _paint(data[top:bottom], float(max_flow), wheel)
    return rgb


def wheel_legend(diameter: int) -> Bytes:
    """The wheel itself as a disc: the colour at an offset from the centre is that of flow pointing there.

    Returns:
        ``(diameter, diameter, 4)`` uint8 RGBA, transparent outside the disc, with a smooth rim.
    """
    radius = diameter / 2
    axis = (np.arange(diameter, dtype=np.float32) + 0.5) - radius
    field = np.stack(np.meshgrid(axis, axis), axis=-1)
    reach = length(field)
    # The rim's outer half pixel lies beyond the radius; pull it in so that it is not darkened.
    field *= np.minimum(1, (radius - 0.5) / np.maximum(reach, 1e-6))[..., None]
    rgb = flow_to_rgb(field, max_flow=max(radius, 0.5))
    alpha = np.clip(radius - reach + 0.5, 0, 1) * 255
    return np.dstack([rgb, np.rint(alpha).astype(np.uint8)])


def with_wheel(picture: Picture, flow: Flow, max_flow: float) -> Picture:
    """The coloured flow with the wheel and what it means in a strip below.

    Args:
        picture: what `flow_to_rgb` made of ``flow``, ``(H, W, 3)`` uint8.
        flow: the field.
        max_flow: the length in pixels that got full colour.
    """
    height, width = picture.shape[:2]
    pen = pen_for(height, width)
    lines = [f"Rim of the wheel: {readable(max_flow)} px", "Hue: from the target pixel towards its source"]
    marks = ["darker: longer"] if longest(flow) > max_flow * 1.001 else []
    marks += [] if flow.known.all() else ["black: unknown"]
    if marks:
        lines.append(", ".join(marks).capitalize())
    row = round(pen.text * 1.3)
    disc = row * max(2, len(lines))
    left = disc + 3 * pen.gap
    strip = Strip(width, disc + 2 * pen.gap)
    strip.paste(pen.gap, pen.gap, wheel_legend(disc))
    for position, line in enumerate(lines):
        size = fitting_size(line, width - left - pen.gap, pen.text)
        if size:
            strip.text(left, pen.gap + row * (position + 0.5), line, size)
    return strip.under(picture)


def longest(flow: Flow | npt.NDArray[np.floating[Any]], where: Mask | None = None) -> float:
    """Length in pixels of the longest known vector (inside ``where``, if given); 0 when there is none."""
    data = as_uv(flow)
    best = 0.0
    for top, bottom in strips((data.shape[0], data.shape[1])):
        strip = data[top:bottom]
        keep = known(strip) if where is None else known(strip) & where[top:bottom]
        if keep.any():
            best = max(best, float(length(strip)[keep].max()))
    return best


def as_uv(flow: Flow | npt.NDArray[np.floating[Any]]) -> Floats:
    """The ``(H, W, 2)`` array of a flow.

    Raises:
        FlowError: the array has another shape.
    """
    data = np.asarray(flow.data if isinstance(flow, Flow) else flow, np.float32)
    if data.ndim != 3 or data.shape[2] != 2 or data.size == 0:
        raise FlowError(f"a flow field is an array (H, W, 2), not {data.shape}")
    return data


def length(data: Floats) -> Floats:
    """Lengths ``(H, W)`` of vectors ``(H, W, 2)``; four times faster than `np.hypot`."""
    # Usable vectors are below 1e9 and their squares far from the end of float32; others may overflow unread.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(data[..., 0] * data[..., 0] + data[..., 1] * data[..., 1]))


def known(data: Floats) -> Mask:
    """Where both components are usable numbers: bool ``(H, W)``."""
    return np.asarray((np.abs(data[..., 0]) < 1e9) & (np.abs(data[..., 1]) < 1e9))  # false for NaN too


def _paint(data: Floats, max_flow: float, wheel: Floats) -> Bytes:
    usable = known(data)
    data = np.asarray(np.where(usable[..., None], data, 0) / np.float32(max_flow), np.float32)
    reach = length(data)
    # The wheel's 55 colours span the circle with the seam where flow points right (+u); position 54 is
    # blended towards colour 0, exactly as in the reference code.
    position = (np.arctan2(-data[..., 1], -data[..., 0]) / np.float32(np.pi) + 1) / 2 * (len(wheel) - 1)
    below = position.astype(np.intp)
    above = (below + 1) % len(wheel)
    share = position - below
    inside = reach <= 1
    rgb = np.empty((*reach.shape, 3), np.uint8)
    for channel in range(3):
        column = np.ascontiguousarray(wheel[:, channel])
        color = (1 - share) * np.take(column, below) + share * np.take(column, above)
        color = np.where(inside, 1 - reach * (1 - color), color * np.float32(_BEYOND))
        rgb[..., channel] = color * 255  # the cast cuts off the fraction, as the reference code does
    rgb[~usable] = 0
    return rgb
