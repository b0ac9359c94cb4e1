"""Sizes, text and the legend under a picture: what a drawing needs to be readable from 64 to 8,000 pixels.

Explanations go into a strip under the picture, never on it, so that they hide nothing and cannot collide
with the drawing. Text is measured before it is drawn: it shrinks, or is left out, so that it never leaves the
strip.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from glualign.arrays import Array, Bytes
from glualign.errors import FlowError
from glualign.geometry import size_of, wxh
from glualign.viz.colors import Colormap, palette, wheel_disc

Picture = Bytes  # (H, W, 3) RGB
RGB = tuple[int, int, int]

PAPER: RGB = (255, 255, 255)
INK: RGB = (28, 28, 30)
_SMALLEST_TEXT = 8


class Pen(NamedTuple):
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
def font(size: int) -> Any:
    """The font that comes with Pillow, so that pictures look the same on every machine."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """Width in pixels of one line of text."""
    return math.ceil(float(font(size).getlength(text)))


def fitting_size(text: str, width: int, size: int) -> int | None:
    """The largest size up to ``size`` at which the text fits into ``width`` pixels, or None."""
    sizes = range(size, _SMALLEST_TEXT - 1, -1)
    return next((candidate for candidate in sizes if text_width(text, candidate) <= width), None)


@dataclass(frozen=True)
class Drawing:
    """A picture and what explains it."""

    picture: Picture  # ``(H, W, 3)`` uint8 RGB
    lines: tuple[str, ...] = ()  # text; several stand beside a colour wheel
    colors: Colormap | None = None  # the map whose scale is shown
    labels: tuple[str, str, str] = ("", "", "")  # of the scale's left end, middle and right end

    def explained(self, pen: Pen | None = None) -> Picture:
        """The picture with its legend in a strip below it; as it is where nothing of that fits.

        With a ``pen``, as for pictures in a row, the strip is there in any case.
        """
        height, width = self.picture.shape[:2]
        in_row, pen = pen is not None, pen or pen_for(height, width)
        row = round(pen.text * 1.35)
        disc = row * len(self.lines) if len(self.lines) > 1 else 0
        bar = max(5, round(pen.text * 0.7)) if self.colors else 0
        left = disc + 3 * pen.gap if disc else 2 * pen.gap if bar else pen.gap
        sizes = [fitting_size(line, width - left - pen.gap, pen.text) for line in self.lines]
        text = row if any(sizes) or in_row else 0
        if not (text or bar or disc):
            return self.picture
        top = pen.gap + (disc or text)
        strip = PillowImage.new("RGB", (width, top + (bar + pen.gap + row if bar else 0) + pen.gap), PAPER)
        draw = ImageDraw.Draw(strip)
        for place, (line, size) in enumerate(zip(self.lines, sizes, strict=True)):
            if size:
                draw.text((left, pen.gap + row * (place + 0.5)), line, INK, font(size), "lm")
        if disc:
            wheel = PillowImage.fromarray(wheel_disc(disc))
            strip.paste(wheel, (pen.gap, pen.gap), wheel)
        if self.colors:
            ramp = np.linspace(0, 255, max(2, width - 2 * left)).round().astype(int)
            scale = palette(self.colors)[ramp][None].repeat(bar, axis=0)
            strip.paste(PillowImage.fromarray(scale), (left, top))
            low, _, high = widths = [text_width(label, pen.text) for label in self.labels]
            room = width - 2 * left
            shown = (
                ("lm", left, low + high + pen.gap <= room),
                ("mm", width / 2, sum(widths) + max(widths) + 2 * pen.gap <= room),
                ("rm", max(width - left, high), True),
            )
            for label, (anchor, x, fits) in zip(self.labels, shown, strict=True):
                if fits:
                    draw.text((x, top + bar + pen.gap + row / 2), label, INK, font(pen.text), anchor)
        return np.concatenate([self.picture, np.asarray(strip)], axis=0)


def readable(value: float) -> str:
    """A number with three significant digits at most and no exponent, as a person writes it."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(digits, 6)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else f"{value:,.0f}"


def faded(picture: Picture, share: float, towards: int) -> Picture:
    """The picture in grey, mixed with a grey level, as a quiet background."""
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return np.asarray(cv2.addWeighted(grey, 1 - share, np.full_like(grey, towards), share, 0), np.uint8)


def background(image: Picture | None, size: tuple[int, int]) -> Picture:
    """A quiet copy of the target image to draw on, of the size ``(height, width)``, or white paper."""
    if image is None:
        return np.full((*size, 3), PAPER, np.uint8)
    check_size("the image", image, size)
    return faded(image, 0.35, 128)


def check_size(what: str, values: Array | None, size: tuple[int, int]) -> None:
    """Refuse, by a `FlowError`, an image or map, if any, of another size than (height, width) of the flow."""
    if values is not None and values.shape[:2] != size:
        raise FlowError(
            f"{what} is {wxh(size_of(values))} and the flow {wxh(size)} pixels; "
            "give the one that belongs to this flow, or fit the flow with glualign resize-flow"
        )
