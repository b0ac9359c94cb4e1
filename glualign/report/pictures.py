"""The pictures of a report, at screen size, as ``data:`` URLs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from glualign.flow import resize
from glualign.images import to_rgb8
from glualign.report.page import picture_url
from glualign.viz import pair, scalar
from glualign.viz.canvas import Picture, readable
from glualign.viz.colormap import Colormap, colorize, number_labels, palette
from glualign.viz.colorwheel import flow_to_rgb, longest, wheel_legend
from glualign.viz.grid import deformed_grid

if TYPE_CHECKING:
    from glualign.alignment import Alignment
    from glualign.report.alignment import SavedAlignment


@dataclass(frozen=True)
class ScaleBar:
    """A scale bar for HTML: a CSS gradient, and the labels of its left end, middle and right end."""

    gradient: str
    labels: tuple[str, str, str]


@dataclass(frozen=True)
class FlowMap:
    """One picture of the flow and its legend; ``wheel`` is the URL of a colour wheel, ``rim`` its scale."""

    name: str
    url: str
    caption: str
    bar: ScaleBar | None = None
    wheel: str | None = None
    rim: str | None = None


@dataclass(frozen=True)
class Pictures:
    """All pictures of a report as URLs; ``width`` and ``height`` are those of the pair's pictures."""

    width: int
    height: int
    target: str
    warped: str
    source: str
    difference: str
    difference_before: str
    maps: tuple[FlowMap, ...]
    correlation_before: float | None
    correlation_after: float | None


def draw_pictures(alignment: Alignment | SavedAlignment, max_side: int) -> Pictures:
    """Draw everything at most ``max_side`` pixels long, whatever the size of the images."""
    target = pair.shrunk(to_rgb8(alignment.target), max_side)
    height, width = target.shape[:2]
    warped = _at(to_rgb8(alignment.warped), height, width)
    valid, trusted = (
        _at(mask.astype(np.uint8) * 255, height, width) >= 128
        for mask in (alignment.valid, alignment.trusted)
    )
    unaligned = _fitted(to_rgb8(alignment.source), height, width)
    return Pictures(
        width=width,
        height=height,
        target=picture_url(target),
        warped=picture_url(pair.filled(warped, target, valid)),
        source=picture_url(unaligned),
        difference=picture_url(pair.red_cyan(target, warped, valid)),
        difference_before=picture_url(pair.red_cyan(target, unaligned)),
        maps=tuple(_maps(alignment, target, trusted)),
        correlation_before=correlation(target, unaligned, trusted),
        correlation_after=correlation(target, warped, trusted),
    )


def _maps(
    alignment: Alignment | SavedAlignment, target: Picture, trusted: npt.NDArray[np.bool_]
) -> list[FlowMap]:
    flow = alignment.flow
    height, width = target.shape[:2]
    factor = height / flow.height
    rows, columns = flow.source_frame
    small = flow
    if (height, width) != flow.size:
        small = resize(flow, (height, width), (max(1, round(rows * factor)), max(1, round(columns * factor))))
    # Vectors in the pictures are shorter by the factor; the legends speak of the images' own pixels.
    top = longest(flow, alignment.trusted) or scalar.scale_of(flow)
    wheel = flow_to_rgb(small, top * factor)
    maps = [
        FlowMap(
            "Flow",
            picture_url(wheel),
            "Hue is the direction from a target pixel to its source, colour strength the distance. "
            "Black is unknown, darkened colours are longer than the rim of the wheel.",
            wheel=picture_url(wheel_legend(192), lossless=True),
            rim=f"{readable(top)} px",
        ),
        FlowMap(
            "Deformed grid",
            picture_url(deformed_grid(small, target, legend=False)),
            "Straight lines on the source, as the flow lays them on the target. Smooth is plausible; loops "
            "and tears are not.",
        ),
        FlowMap(
            "Trusted",
            picture_url(scalar.mask_overlay(target, trusted, legend=False)),
            "Striped: outside the source, or not trusted.",
        ),
    ]
    if alignment.confidence is not None:
        shown = np.asarray(
            cv2.resize(alignment.confidence, (width, height), interpolation=cv2.INTER_AREA), np.float32
        )
        maps.append(
            FlowMap(
                "Confidence",
                picture_url(colorize(shown, 0, 1, "cividis")),
                "How far the flow can be trusted, 1 at best.",
                bar=_bar("cividis", number_labels(0, 1)),
            )
        )
    maps += [
        FlowMap(
            "Length of the flow",
            picture_url(scalar.magnitude(small, top * factor, legend=False)),
            "Distance between a target pixel and its source, in pixels. Grey stripes: unknown.",
            bar=_bar("viridis", number_labels(0, top)),
        ),
        FlowMap(
            "Area and folds",
            picture_url(scalar.jacobian(small, trusted, legend=False)),
            "Source area per target pixel: blue is enlarged, orange reduced, black folded "
            "over. Grey stripes: not trusted.",
            bar=_bar("balance", ("1/4", "1", "4")),
        ),
    ]
    return maps


def _bar(name: Colormap, labels: tuple[str, str, str]) -> ScaleBar:
    stops = palette(name)[np.linspace(0, 255, 17).astype(int)]
    gradient = ", ".join(f"rgb({r} {g} {b})" for r, g, b in stops)
    return ScaleBar(f"linear-gradient(to right, {gradient})", labels)


def _at(picture: Picture, height: int, width: int) -> Picture:
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _fitted(picture: Picture, height: int, width: int) -> Picture:
    """The source as it was, as large as fits into the target's frame, on grey."""
    factor = min(height / picture.shape[0], width / picture.shape[1])
    rows, columns = max(1, round(picture.shape[0] * factor)), max(1, round(picture.shape[1] * factor))
    canvas = np.full((height, width, 3), 128, np.uint8)
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas[top : top + rows, left : left + columns] = _at(picture, rows, columns)
    return canvas


def correlation(first: Picture, second: Picture, where: npt.NDArray[np.bool_]) -> float | None:
    """Correlation of two pictures' grey values in ``where``: 1 for equal up to brightness and contrast.

    Returns:
        A number in [-1, 1], or None where there is nothing to correlate.
    """
    a = cv2.cvtColor(first, cv2.COLOR_RGB2GRAY)[where].astype(np.float64)
    b = cv2.cvtColor(second, cv2.COLOR_RGB2GRAY)[where].astype(np.float64)
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
