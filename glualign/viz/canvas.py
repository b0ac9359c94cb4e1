"""Sizes, text and the strip under a picture: what every drawing needs to be readable from 64 to 8,000 pixels.

Explanations (scale bars, captions) go into a strip under the picture, never on it, so that they hide
nothing and cannot collide with the drawing. Text is measured before it is drawn: it shrinks, or is left out,
so that it never leaves the strip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from glualign.arrays import Array, Bytes
from glualign.errors import FlowError

Picture = Bytes  # (H, W, 3) RGB
RGB = tuple[int, int, int]

PAPER: RGB = (255, 255, 255)
INK: RGB = (28, 28, 30)
# Two of the eight colours that Okabe and Ito chose to be told apart with any colour vision
# (jfly.uni-koeln.de/color).
ORANGE: RGB = (230, 159, 0)
SKY: RGB = (86, 180, 233)
_SMALLEST_TEXT = 8


@dataclass(frozen=True)
class Pen:
    """Drawing sizes in pixels that suit one picture."""

    line: int  # width of a line
    text: int  # height of the text, from ascender to descender
    gap: int  # distance between things


def pen_for(height: int, width: int) -> Pen:
    """The sizes for a picture of that height and width: the same share of it at every resolution."""
    side = math.sqrt(height * width)
    text = round(max(9.0, min(0.026 * side, 0.16 * min(height, width))))
    return Pen(line=max(1, round(side / 520)), text=text, gap=max(3, round(text * 0.55)))


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow, so that pictures look the same on every machine."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """Width in pixels of one line of text."""
    return math.ceil(font(size).getlength(text))


def fitting_size(text: str, width: int, size: int) -> int | None:
    """The largest size up to ``size`` at which the text fits into ``width`` pixels, or None."""
    sizes = range(size, _SMALLEST_TEXT - 1, -1)
    return next((candidate for candidate in sizes if text_width(text, candidate) <= width), None)


def blank(height: int, width: int, color: RGB = PAPER) -> Picture:
    """An empty picture."""
    return np.full((height, width, 3), color, np.uint8)


class Strip:
    """A strip of paper of a picture's width on which text and small pictures are laid out."""

    def __init__(self, width: int, height: int) -> None:
        self.image = PillowImage.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def text(self, x: float, middle: float, text: str, size: int, anchor: str = "l") -> None:
        """Write a line around height ``middle``; ``x`` is its left (l), middle (m) or right (r) end."""
        self._draw.text((x, middle), text, fill=INK, font=font(size), anchor=f"{anchor}m")

    def paste(self, left: int, top: int, picture: Bytes) -> None:
        """Lay an RGB or RGBA picture on the strip."""
        small = PillowImage.fromarray(picture)
        self.image.paste(small, (left, top), small if picture.shape[2] == 4 else None)

    def under(self, picture: Picture) -> Picture:
        """The picture with this strip below it."""
        return np.concatenate([picture, np.asarray(self.image)], axis=0)


def with_caption(picture: Picture, text: str) -> Picture:
    """The picture with a line of text below it, or as it is where the text does not fit."""
    height, width = picture.shape[:2]
    pen = pen_for(height, width)
    size = fitting_size(text, width - 2 * pen.gap, pen.text)
    if size is None:
        return picture
    strip = Strip(width, round(pen.text * 1.35) + 2 * pen.gap)
    strip.text(pen.gap, strip.image.height / 2, text, size)
    return strip.under(picture)


def readable(value: float) -> str:
    """A number with three significant digits at most and no exponent, as a person writes it."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else f"{value:,.0f}"


def grey(picture: Picture) -> Picture:
    """The picture without its colours, still ``(H, W, 3)``."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def faded(picture: Picture, share: float = 0.55, towards: int = 255) -> Picture:
    """The picture mixed with a grey level, as a quiet background."""
    return np.asarray(cv2.addWeighted(picture, 1 - share, np.full_like(picture, towards), share, 0), np.uint8)


def check_size(what: str, values: Array, size: tuple[int, int]) -> None:
    """Refuse an image or map of another size than (height, width) of the flow.

    Raises:
        FlowError: with both sizes.
    """
    if values.shape[:2] != size:
        raise FlowError(
            f"{what} is {values.shape[1]} x {values.shape[0]} and the flow {size[1]} x {size[0]} pixels; "
            "give the one that belongs to this flow, or fit the flow with glualign resize-flow"
        )


def background(image: Picture | None, size: tuple[int, int]) -> Picture:
    """A quiet copy of the target image to draw on, or white paper.

    Raises:
        FlowError: the image's size is not ``size`` (height, width).
    """
    if image is None:
        return blank(*size)
    check_size("the image", image, size)
    return faded(grey(image), 0.35, 128)
