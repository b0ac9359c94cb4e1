"""A warped image, and what it shows where the source has nothing to show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageColor

from glualign.arrays import Array, Bytes, Mask
from glualign.errors import ImageError
from glualign.images import Image, to_rgb8

if TYPE_CHECKING:
    from glualign.flow import Flow, FlowRows, Interpolation


def warp_image(
    image: Image, flow: Flow | FlowRows, interpolation: Interpolation | None = None
) -> tuple[Image, Mask]:
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
    if fill == "transparent":
        return _transparent(warped, valid)
    pixels = warped.pixels.copy()
    if fill == "#000000":
        pixels[~valid] = warped.blank
        return warped.replace(pixels)
    if fill == "target":
        shown = _in_format_of(warped, to_rgb8(target)[~valid])
    else:
        colour = np.array([[int(fill[at : at + 2], 16) for at in (1, 3, 5)]], np.uint8)
        shown = _in_format_of(warped, colour)
    if warped.channels == 1:
        pixels[~valid] = shown[:, 0]
    else:
        pixels[~valid, : warped.colours] = shown
        pixels[~valid, warped.colours :] = _full(warped) if warped.has_alpha else 0
    return warped.replace(pixels)


def _transparent(warped: Image, valid: Mask) -> Image:
    extra = warped.extrasamples
    if warped.has_alpha:
        pixels = warped.pixels.copy()
    else:
        colour = warped.pixels if warped.pixels.ndim == 3 else warped.pixels[..., None]
        alpha = np.full((*valid.shape, 1), _full(warped), warped.pixels.dtype)
        pixels = np.concatenate([colour, alpha], axis=2)
        extra = (*extra, 2) if extra is not None else None
    pixels[~valid] = 0
    return warped.replace(pixels, extrasamples=extra)


def _full(image: Image) -> float:
    return 1.0 if image.pixels.dtype.kind == "f" else float(np.iinfo(image.pixels.dtype).max)


def _in_format_of(image: Image, rgb: Bytes) -> Array:
    """``(N, 3)`` 8-bit RGB as ``(N, colours)`` in the depth of ``image``, grey when it is grey."""
    import cv2

    colours = rgb
    if image.colours == 1 and len(rgb):
        colours = np.asarray(cv2.cvtColor(rgb[None], cv2.COLOR_RGB2GRAY)[0], np.uint8)[:, None]
    scaled = colours.astype(np.float64) * (_full(image) / 255)
    return (scaled if image.pixels.dtype.kind == "f" else np.rint(scaled)).astype(image.pixels.dtype)
