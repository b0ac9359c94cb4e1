"""Maps of one value per pixel: length, area change and folds, forward-backward error, confidence, mask."""

from __future__ import annotations

import math

import cv2
import numpy as np

from glualign.arrays import Floats, Mask
from glualign.errors import FlowError
from glualign.flow import Flow, jacobian_determinant
from glualign.viz.canvas import Picture, check_size, faded, grey, pen_for, readable, with_caption
from glualign.viz.colormap import colorize, number_labels, with_scale
from glualign.viz.colorwheel import length, longest

FOLD = (0, 0, 0)  # far darker than either end of the map, so told apart by lightness alone
_EDGE = (213, 94, 0)  # vermilion of Okabe and Ito


def scale_of(flow: Flow) -> float:
    """The longest vector that stays inside the source, in pixels: what pictures take as full scale.

    Vectors that leave the source carry no picture, and a network may make them as long as it likes.
    """
    return longest(flow, flow.valid()) or longest(flow) or 1.0


def magnitude(flow: Flow, max_flow: float | None = None, *, legend: bool = True) -> Picture:
    """Length of the flow in pixels, dark for none, yellow for ``max_flow``; unknown pixels are striped.

    Args:
        flow: the field.
        max_flow: length in pixels of the brightest colour; None takes `scale_of`.
        legend: put the scale bar below the picture.
    """
    top = checked_maximum(max_flow) if max_flow is not None else scale_of(flow)
    lengths = length(flow.data)
    picture = colorize(lengths, 0, top, "viridis")
    if not legend:
        return picture
    beyond = bool(np.nanmax(lengths, initial=0) > top * 1.001)
    labels = number_labels(0, top, open_ended=beyond)
    return with_scale(picture, 0, top, "viridis", "Length of the flow in pixels", labels)


def jacobian(flow: Flow, where: Mask | None = None, *, legend: bool = True) -> Picture:
    """How much source area one target pixel covers: blue stretched, orange compressed, black folded over.

    The colour is the logarithm of the Jacobian determinant of target -> source positions, from 1/4 to 4;
    where the determinant is not positive the map is not invertible (a fold). Outside ``where`` the picture is
    striped.
    """
    determinant = jacobian_determinant(flow)
    if where is not None:
        determinant = np.where(where, determinant, np.float32(np.nan))
    with np.errstate(divide="ignore", invalid="ignore"):
        exponent = np.log2(determinant)
    exponent = np.clip(exponent, -2, 2)
    folded = determinant <= 0
    exponent[folded] = 0
    picture = colorize(exponent, -2, 2, "balance")
    picture[folded] = FOLD
    if not legend:
        return picture
    measured = np.isfinite(determinant)
    share = 100 * folded.sum() / max(1, measured.sum())
    folds = f"{share:.2g} %" if folded.any() else "none"
    title = f"Source area per target pixel. Folded over (black): {folds}"
    return with_scale(picture, -2, 2, "balance", title, ("1/4", "1", "4"))


def error(errors: Floats, maximum: float | None = None, *, legend: bool = True) -> Picture:
    """Forward-backward (or any) error in pixels, black for none; pixels without an error are striped.

    Args:
        errors: ``(H, W)`` float32 pixels, NaN where undefined, e.g. from `glualign.flow.consistency`.
        maximum: error in pixels of the brightest colour; None takes eight times the median or the 98th
            percentile,
            whichever is less, and at least 1 px.
        legend: put the scale bar below the picture.
    """
    finite = errors[np.isfinite(errors)]
    if maximum is None:
        # Where the images do not overlap the error is of any size; it must not hide what happens where they
        # do.
        middle, high = np.percentile(finite, [50, 98]) if finite.size else (0.0, 0.0)
        maximum = max(1.0, float(min(high, 8 * middle)))
    maximum = checked_maximum(maximum)
    picture = colorize(np.where(np.isfinite(errors), errors, np.float32(np.nan)), 0, maximum, "inferno")
    if not legend:
        return picture
    median = f"median {readable(float(np.median(finite)))} px" if finite.size else "defined nowhere"
    labels = number_labels(0, maximum, open_ended=bool(finite.size and finite.max() > maximum))
    return with_scale(picture, 0, maximum, "inferno", f"Forward-backward error in pixels, {median}", labels)


def confidence(values: Floats, *, legend: bool = True) -> Picture:
    """Confidence from 0 (dark) to 1 (yellow), ``(H, W)`` float32; NaN is striped."""
    picture = colorize(values, 0, 1, "cividis")
    if not legend:
        return picture
    return with_scale(picture, 0, 1, "cividis", "Confidence in the flow", number_labels(0, 1))


def mask_overlay(image: Picture, mask: Mask, *, legend: bool = True) -> Picture:
    """Show the image where ``mask`` holds, and faded under stripes with an outline where it does not.

    Args:
        image: ``(H, W, 3)`` uint8.
        mask: ``(H, W)`` bool.
        legend: say the share of striped pixels below the picture.

    Raises:
        FlowError: the sizes differ.
    """
    height, width = mask.shape
    check_size("the image", image, (height, width))
    pen = pen_for(height, width)
    picture = image.copy()
    outside = ~mask
    if outside.any():
        quiet = faded(grey(image), 0.5, 90)
        period = 4 + 5 * pen.line
        stripe = (np.arange(height)[:, None] + np.arange(width)) % (2 * period) < period
        picture[outside] = quiet[outside]
        hatched = outside & stripe
        picture[hatched] = (picture[hatched].astype(np.uint16) * 3 // 4 + 60).astype(np.uint8)
        # On a copy continued beyond the frame the contour closes out of sight, so that it does not run along
        # the frame.
        edge, margin = pen.line + 1, pen.line + 2
        wide = np.pad(outside.astype(np.uint8), margin, mode="edge")
        how = cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        outlines, _ = cv2.findContours(wide, *how, offset=(-margin, -margin))
        cv2.drawContours(picture, outlines, -1, _EDGE, edge, cv2.LINE_AA)
    if not legend:
        return picture
    return with_caption(picture, f"Striped: {100 * outside.mean():.1f} % without a valid source")


def checked_maximum(value: float) -> float:
    """``value`` if it can be the top of a scale.

    Raises:
        FlowError: it is not a positive number.
    """
    if not (math.isfinite(value) and value > 0):
        raise FlowError(f"the top of the scale must be a positive number of pixels, not {value}")
    return float(value)
