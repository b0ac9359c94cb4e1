"""What a warped image shows where the source has nothing to show."""

from __future__ import annotations

import re

import cv2
import numpy as np
import numpy.typing as npt

from glualign.errors import ImageError
from glualign.images import Image, to_rgb8


def fill_invalid(warped: Image, valid: npt.NDArray[np.bool_], fill: str, target: Image) -> Image:
    """Give pixels that are not valid a colour, transparency or the target's pixels.

    Args:
        warped: an image on the target's grid.
        valid: ``(H, W)`` bool on the same grid.
        fill: ``#rrggbb``, ``transparent`` or ``target``.
        target: the image to fill from.

    Returns:
        An image of the same depth; ``transparent`` adds an alpha channel where there was none. With an alpha
        channel, pixels filled with a colour or the target are opaque.
    """
    if fill == "transparent":
        return _transparent(warped, valid)
    pixels = warped.pixels.copy()
    if fill == "target":
        shown = _in_format_of(warped, to_rgb8(target)[~valid])
    else:
        if not re.fullmatch("#[0-9a-fA-F]{6}", fill):
            raise ImageError(f"fill {fill!r} is not a colour #rrggbb, 'transparent' or 'target'")
        colour = np.array([[int(fill[at : at + 2], 16) for at in (1, 3, 5)]], np.uint8)
        shown = _in_format_of(warped, colour)
    if warped.has_alpha:
        pixels[~valid, :-1] = shown
        # Black is the absence of content: it stays clear where the format can say so.
        pixels[~valid, -1] = 0 if fill == "#000000" else _full(warped)
    elif warped.channels == 1:
        pixels[~valid] = shown[:, 0]
    else:
        pixels[~valid] = shown
    return warped.replace(pixels)


def _transparent(warped: Image, valid: npt.NDArray[np.bool_]) -> Image:
    if warped.has_alpha:
        pixels = warped.pixels.copy()
    else:
        colour = warped.pixels if warped.pixels.ndim == 3 else warped.pixels[..., None]
        alpha = np.full((*valid.shape, 1), _full(warped), warped.pixels.dtype)
        pixels = np.concatenate([colour, alpha], axis=2)
    pixels[~valid] = 0
    return warped.replace(pixels)


def _full(image: Image) -> float:
    return 1.0 if image.pixels.dtype.kind == "f" else float(np.iinfo(image.pixels.dtype).max)


def _in_format_of(image: Image, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.generic]:
    """``(N, 3)`` 8-bit RGB as ``(N, colours)`` in the depth of ``image``, grey when it is grey."""
    colours = rgb
    if image.channels <= 2 and len(rgb):
        colours = np.asarray(cv2.cvtColor(rgb[None], cv2.COLOR_RGB2GRAY)[0], np.uint8)[:, None]
    scaled = colours.astype(np.float64) * (_full(image) / 255)
    return (
        np.rint(scaled).astype(image.pixels.dtype)
        if image.pixels.dtype.kind != "f"
        else scaled.astype(image.pixels.dtype)
    )
