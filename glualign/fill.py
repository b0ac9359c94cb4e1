"""A warped image, and what it shows where the source has nothing to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageColor

from glualign.arrays import Array, Mask
from glualign.errors import ImageError
from glualign.images import Image, to_rgb8

if TYPE_CHECKING:
    from glualign.flow import Flow, Interpolation

_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (BT.601)."""


def warp_image(image: Image, flow: Flow, interpolation: Interpolation | None = None) -> tuple[Image, Mask]:
    """An image of the source drawn on the target grid, with all of its bands.

    Args:
        image: the source, or another image of its size.
        flow: target -> source.
        interpolation: None: nearest for labels, linear for everything else. A palette is kept by nearest
            only; other interpolation gives its colours.

    Returns:
        ``(warped, valid)``: the image, and bool ``(H_target, W_target)``, false where the flow is unknown or
        leaves the source, or where a pixel without data has a part in the sample. Pixels that are not valid
        hold the no-data value where the image has one, otherwise 0.

    Raises:
        FlowError: the flow belongs to a source of another size.
    """
    from glualign.flow import warp

    how = interpolation or ("nearest" if image.is_labels else "linear")
    if how != "nearest":
        image = image.as_colours()
    hole = image.missing()
    if hole is not None and image.nodata is None and image.pixels.dtype.kind == "f":
        image = image.replace(image.pixels, nodata=float("nan"))
    pixels, valid = warp(image.pixels, flow, interpolation=how, alpha=image.has_alpha, missing=hole)
    pixels[~valid] = image.blank
    return image.replace(pixels, georeference={}, ignored=None), valid


def holds_data(source: Image, target: Image, flow: Flow) -> Mask:
    """``(H_target, W_target)`` bool: the flow is known, leads into the source, and both images have data."""
    valid = flow.valid() if source.missing() is None else warp_image(source, flow)[1]
    hole = target.missing()
    return valid if hole is None else valid & ~hole


def fill_of(text: str) -> str:
    """``transparent``, ``target``, or a colour (``white``, ``#fc0``, ``#ffcc00``) as ``#rrggbb``.

    Raises:
        ImageError: the text is none of them.
    """
    word = str(text).strip().lower()
    if word in ("transparent", "target"):
        return word
    try:
        red, green, blue = ImageColor.getrgb(word)[:3]
    except ValueError:
        raise ImageError(
            f"fill {text!r} is not one of transparent, target, a colour such as white or #ffcc00"
        ) from None
    return f"#{red:02x}{green:02x}{blue:02x}"


def fill_invalid(warped: Image, valid: Mask, fill: str, target: Image) -> Image:
    """Give pixels that are not valid a colour, transparency or the target's pixels.

    Args:
        warped: an image on the target's grid.
        valid: ``(H, W)`` bool on the same grid.
        fill: a colour as `fill_of` takes it, ``transparent`` or ``target``. Black is the absence of
            content: clear with an alpha channel, the no-data value in an image that has one, 0 among labels.
        target: the image to fill from.

    Returns:
        An image of the same depth; ``transparent`` adds an alpha channel where there was none. With an alpha
        channel, pixels filled with a colour or the target are opaque. A palette stays with black only.
    """
    fill = fill_of(fill)
    if fill != "#000000":
        warped = warped.as_colours()
    pixels, kind, extra = warped.pixels.copy(), warped.pixels.dtype, warped.extrasamples
    full = 1.0 if kind.kind == "f" else float(np.iinfo(kind).max)
    if fill == "#000000":
        pixels[~valid] = warped.blank
        return warped.replace(pixels)
    if fill == "transparent":
        if not warped.has_alpha:
            pixels = np.dstack([pixels, np.full(valid.shape, full, kind)])
            extra = (*extra, 2) if extra is not None else None
        pixels[~valid] = 0
        return warped.replace(pixels, extrasamples=extra)
    shown: Array = to_rgb8(target)[~valid] if fill == "target" else np.array([ImageColor.getrgb(fill)])
    if warped.colours == 1:
        shown = (shown @ _LUMA)[:, None]
    scaled = shown * (full / 255)
    bands = pixels.reshape(*valid.shape, -1)
    bands[~valid, : warped.colours] = scaled if kind.kind == "f" else np.rint(scaled)
    bands[~valid, warped.colours :] = full if warped.has_alpha else 0
    return warped.replace(pixels)
