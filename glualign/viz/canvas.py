"""Sizes, text and the strip under a picture: what every drawing needs to be readable from 64 to 8,000 pixels.

Explanations (scale bars, captions) go into a strip under the picture, never on it, so that they hide
nothing and cannot collide with the drawing. Text is measured before it is drawn: it shrinks, then takes a
shorter wording, then is left out, so that it never leaves the strip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

Picture = npt.NDArray[np.uint8]  # (H, W, 3) RGB
RGB = tuple[int, int, int]

PAPER: RGB = (255, 255, 255)
INK: RGB = (28, 28, 30)
FAINT: RGB = (105, 105, 112)
# Two of the eight colours that Okabe and Ito chose to be told apart with any colour vision
# (jfly.uni-koeln.de/color).
ORANGE: RGB = (230, 159, 0)
SKY: RGB = (86, 180, 233)
_SMALLEST_TEXT = 8


@dataclass(frozen=True)
class Pen:
    """Drawing sizes in pixels that suit one picture.

    Attributes:
        line: width of a line.
        text: height of the text, from ascender to descender.
        gap: distance between things.
    """

    line: int
    text: int
    gap: int


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


def fit_text(wordings: Sequence[str], width: int, size: int) -> tuple[str, int] | None:
    """The first wording that fits into ``width`` pixels and its size, or None.

    Each wording is tried down to three quarters of ``size`` before the next, shorter one; the last also at
    the smallest legible size.
    """
    for wording in wordings:
        for candidate in range(size, max(_SMALLEST_TEXT, round(size * 0.75)) - 1, -1):
            if text_width(wording, candidate) <= width:
                return wording, candidate
    if wordings and text_width(wordings[-1], _SMALLEST_TEXT) <= width:
        return wordings[-1], _SMALLEST_TEXT
    return None


def blank(height: int, width: int, color: RGB = PAPER) -> Picture:
    """An empty picture."""
    return np.full((height, width, 3), color, np.uint8)


class Strip:
    """A strip of paper of a picture's width on which text and small pictures are laid out."""

    def __init__(self, width: int, height: int) -> None:
        self.image = PillowImage.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def text(
        self, x: float, middle: float, text: str, size: int, color: RGB = INK, anchor: str = "l"
    ) -> None:
        """Write a line around height ``middle``; ``x`` is its left (l), middle (m) or right (r) end."""
        self._draw.text((x, middle), text, fill=color, font=font(size), anchor=f"{anchor}m")

    def paste(self, left: int, top: int, picture: npt.NDArray[np.uint8]) -> None:
        """Lay an RGB or RGBA picture on the strip."""
        small = PillowImage.fromarray(picture)
        self.image.paste(small, (left, top), small if picture.shape[2] == 4 else None)

    def line(self, start: tuple[float, float], end: tuple[float, float], width: int, color: RGB) -> None:
        """Draw a straight line."""
        self._draw.line((*start, *end), fill=color, width=width)

    def under(self, picture: Picture) -> Picture:
        """The picture with this strip below it."""
        return np.concatenate([picture, np.asarray(self.image)], axis=0)


def with_caption(picture: Picture, lines: Sequence[Sequence[str]], pen: Pen | None = None) -> Picture:
    """The picture with lines of text below it.

    Args:
        picture: ``(H, W, 3)`` uint8.
        lines: for each line its wordings, from the fullest to the shortest.
        pen: sizes; None takes those for the picture.
    """
    height, width = picture.shape[:2]
    pen = pen or pen_for(height, width)
    fitting = [found for line in lines if (found := fit_text(line, width - 2 * pen.gap, pen.text))]
    if not fitting:
        return picture
    pitch = round(pen.text * 1.35)
    strip = Strip(width, pitch * len(fitting) + 2 * pen.gap)
    for position, (text, size) in enumerate(fitting):
        color = INK if position == 0 else FAINT
        strip.text(pen.gap, pen.gap + pitch * (position + 0.5), text, size, color)
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
    import cv2

    return np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)


def faded(picture: Picture, share: float = 0.55, towards: int = 255) -> Picture:
    """The picture mixed with a grey level, as a quiet background."""
    import cv2

    return np.asarray(cv2.addWeighted(picture, 1 - share, np.full_like(picture, towards), share, 0), np.uint8)
