"""Numbers and vectors as colours: maps that every colour vision can order, and the Middlebury wheel of flow.

The wheel is the one of Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011
(section 4.2 and the code that came with it), so that pictures compare with those in the literature.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Bytes, Mask
from glualign.errors import FlowError
from glualign.flow import Flow
from glualign.geometry import strips

Colormap = Literal["viridis", "cividis", "inferno", "balance"]

_OPENCV = {"viridis": cv2.COLORMAP_VIRIDIS, "cividis": cv2.COLORMAP_CIVIDIS, "inferno": cv2.COLORMAP_INFERNO}
# Blue to orange through light grey: equal steps in lightness on both sides, apart for red-green blindness.
_BALANCE = ((23, 92, 168), (110, 170, 219), (242, 242, 240), (244, 174, 82), (190, 88, 0))
# Red, yellow, green, cyan, blue, magenta, and the steps from each to the next: the eye separates some
# neighbours better than others.
_CORNERS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 0, 0))
_STEPS = (15, 6, 4, 11, 13, 6)
_BEYOND = 0.75  # flow longer than the maximum is darkened by this, so that it cannot pass for the maximum


@lru_cache(maxsize=8)
def palette(name: Colormap) -> Bytes:
    """The 256 colours of a map, ``(256, 3)`` RGB, from low to high."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    if name != "balance":
        return np.ascontiguousarray(cv2.applyColorMap(ramp, _OPENCV[name])[:, 0, ::-1])
    at = np.linspace(0, 255, len(_BALANCE))
    channels = [np.interp(ramp[:, 0], at, channel) for channel in zip(*_BALANCE, strict=True)]
    return np.asarray(np.rint(np.stack(channels, axis=1)), np.uint8)


def wheel_colors() -> Bytes:
    """The 55 colours of the wheel, ``(55, 3)`` RGB, in order of direction."""
    at = np.cumsum((0, *_STEPS))
    channels = [np.interp(np.arange(at[-1]), at, channel) for channel in zip(*_CORNERS, strict=True)]
    return np.asarray(np.floor(np.stack(channels, axis=1)), np.uint8)


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
    if not isinstance(flow, Flow):
        data = np.asarray(flow, np.float32)
        flow = Flow(np.where(np.abs(data) < 1e9, data, np.float32(np.nan)))
    # No motion at all: any scale paints it white.
    top = np.float32(checked_maximum(max_flow) if max_flow is not None else longest(flow) or 1.0)
    wheel = wheel_colors().astype(np.float32) / np.float32(255)
    rgb = np.empty((*flow.size, 3), np.uint8)
    for first, last in strips(flow.size):
        data = np.nan_to_num(flow.data[first:last] / top)
        reach = np.hypot(data[..., 0], data[..., 1])[..., None]
        # The wheel's 55 colours span the circle with the seam where flow points right (+u); position 54 is
        # blended towards colour 0, exactly as in the reference code.
        position = (np.arctan2(-data[..., 1], -data[..., 0]) / np.float32(np.pi) + 1) / 2 * (len(wheel) - 1)
        below = position.astype(np.intp)
        share = (position - below)[..., None]
        color = (1 - share) * wheel[below] + share * wheel[(below + 1) % len(wheel)]
        color = np.where(reach <= 1, 1 - reach * (1 - color), color * np.float32(_BEYOND))
        color[np.isnan(flow.data[first:last, :, 0])] = 0
        rgb[first:last] = np.asarray(color * 255, np.float32)  # cut off, as in the reference code
    return rgb


def wheel_disc(diameter: int) -> Bytes:
    """The wheel as a disc ``(diameter, diameter, 4)`` RGBA: the colour at an offset is that of flow there."""
    radius = diameter / 2
    axis = (np.arange(diameter, dtype=np.float32) + 0.5) - radius
    field = np.stack(np.meshgrid(axis, axis), axis=-1)
    reach = np.hypot(field[..., 0], field[..., 1])
    # The rim's outer half pixel lies beyond the radius; pull it in so that it is not darkened.
    field *= np.minimum(1, (radius - 0.5) / np.maximum(reach, 1e-6))[..., None]
    rgb = flow_to_rgb(field, max_flow=max(radius, 0.5))
    alpha = np.clip(radius - reach + 0.5, 0, 1) * 255
    return np.dstack([rgb, np.rint(alpha).astype(np.uint8)])


def longest(flow: Flow, where: Mask | None = None) -> float:
    """Length in pixels of the longest known vector (inside ``where``, if given); 0 when there is none."""
    known = flow.known if where is None else flow.known & where
    return float(np.max(flow.magnitude, where=known, initial=0))


def scale_of(flow: Flow, given: float | None = None) -> float:
    """Full scale in pixels: what is ``given``, or the longest vector that stays inside the source."""
    return given if given is not None else longest(flow, flow.valid()) or longest(flow) or 1.0


def checked_maximum(value: float) -> float:
    """``value`` if it can be the top of a scale; a `FlowError` if it is not a positive number."""
    if not (np.isfinite(value) and value > 0):
        raise FlowError(f"the top of the scale must be a positive number of pixels, not {value}")
    return float(value)
