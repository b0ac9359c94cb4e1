"""What is valid, shown on the image itself."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from glualign.errors import ImageError
from glualign.viz.canvas import Picture, faded, grey, pen_for, with_caption

_EDGE = (213, 94, 0)  # vermilion of Okabe and Ito


def mask_overlay(image: Picture, mask: npt.NDArray[np.bool_], *, legend: bool = True) -> Picture:
    """Show the image where ``mask`` holds, and faded under stripes with an outline where it does not.

    Args:
        image: ``(H, W, 3)`` uint8.
        mask: ``(H, W)`` bool.
        legend: say the share of striped pixels below the picture.

    Raises:
        ImageError: the sizes differ.
    """
    height, width = image.shape[:2]
    if mask.shape != (height, width):
        raise ImageError(
            f"the mask is {mask.shape[1]} x {mask.shape[0]} and the image {width} x {height} pixels"
        )
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
        _outline(picture, outside, pen.line + 1)
    if not legend:
        return picture
    return with_caption(picture, f"Striped: {100 * outside.mean():.1f} % without a valid source")


def _outline(picture: Picture, outside: npt.NDArray[np.bool_], width: int) -> None:
    # On a copy continued beyond the frame the contour closes out of sight, so that it does not run along
    # the frame.
    margin = width + 1
    wide = np.pad(outside.astype(np.uint8), margin, mode="edge")
    outlines, _ = cv2.findContours(wide, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(-margin, -margin))
    cv2.drawContours(picture, outlines, -1, _EDGE, width, cv2.LINE_AA)
