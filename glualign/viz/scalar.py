"""Maps of one number per pixel: flow length, area change and folds, forward-backward error, confidence."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError
from glualign.flow import Flow, jacobian_determinant
from glualign.viz.canvas import Picture, readable
from glualign.viz.colormap import colorize, number_labels, with_scale
from glualign.viz.colorwheel import as_uv, known, length, longest

FOLD = (0, 0, 0)  # far darker than either end of the map, so told apart by lightness alone


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
    data = as_uv(flow)
    lengths = length(data)
    lengths[~known(data)] = np.nan
    picture = colorize(lengths, 0, top, "viridis")
    if not legend:
        return picture
    beyond = bool(np.nanmax(lengths, initial=0) > top * 1.001)
    labels = number_labels(0, top, open_ended=beyond)
    return with_scale(picture, 0, top, "viridis", "Length of the flow in pixels", labels)


def jacobian(flow: Flow, where: npt.NDArray[np.bool_] | None = None, *, legend: bool = True) -> Picture:
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


def error(errors: npt.NDArray[np.float32], maximum: float | None = None, *, legend: bool = True) -> Picture:
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


def confidence(values: npt.NDArray[np.float32], *, legend: bool = True) -> Picture:
    """Confidence from 0 (dark) to 1 (yellow), ``(H, W)`` float32; NaN is striped."""
    picture = colorize(values, 0, 1, "cividis")
    if not legend:
        return picture
    return with_scale(picture, 0, 1, "cividis", "Confidence in the flow", number_labels(0, 1))


def checked_maximum(value: float) -> float:
    """``value`` if it can be the top of a scale.

    Raises:
        FlowError: it is not a positive number.
    """
    if not (math.isfinite(value) and value > 0):
        raise FlowError(f"the top of the scale must be a positive number of pixels, not {value}")
    return float(value)
