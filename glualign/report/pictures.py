"""The pictures of a report, at screen size, as ``data:`` URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from glualign.arrays import Mask
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


def draw_pictures(alignment: Alignment | SavedAlignment, max_side: int) -> dict[str, Any]:
    """Draw everything at most ``max_side`` pixels long, whatever the size of the images.

    Returns:
        ``width`` and ``height`` of the pair's pictures; URLs ``target``, ``warped``, ``source``,
        ``difference`` and ``difference_before``; ``maps`` of the flow; and ``correlations`` of target and
        source before and after, where there is anything to correlate.
    """
    target = pair.shrunk(to_rgb8(alignment.target), max_side)
    height, width = target.shape[:2]
    warped = pair.resized(to_rgb8(alignment.warped), height, width)
    valid, trusted = (
        pair.resized(mask.astype(np.uint8) * 255, height, width) >= 128
        for mask in (alignment.valid, alignment.trusted)
    )
    unaligned = _fitted(to_rgb8(alignment.source), height, width)
    correlations = [correlation(target, picture, trusted) for picture in (unaligned, warped)]
    return {
        "width": width,
        "height": height,
        "target": picture_url(target),
        "warped": picture_url(pair.filled(warped, target, valid)),
        "source": picture_url(unaligned),
        "difference": picture_url(pair.red_cyan(target, warped, valid)),
        "difference_before": picture_url(pair.red_cyan(target, unaligned)),
        "maps": _maps(alignment, target, trusted),
        "correlations": [] if None in correlations else correlations,
    }


def _maps(alignment: Alignment | SavedAlignment, target: Picture, trusted: Mask) -> list[dict[str, Any]]:
    """Pictures of the flow, each with its name, URL, caption and legend: a colour wheel or a scale bar."""
    flow = alignment.flow
    height, width = target.shape[:2]
    factor = height / flow.height
    small = flow
    if (height, width) != flow.size:
        rows, columns = (max(1, round(side * factor)) for side in flow.source_frame)
        small = resize(flow, (height, width), (rows, columns))
    # Vectors in the pictures are shorter by the factor; the legends speak of the images' own pixels.
    top = longest(flow, alignment.trusted) or scalar.scale_of(flow)
    maps = [
        _map(
            "Flow",
            flow_to_rgb(small, top * factor),
            "Hue is the direction from a target pixel to its source, colour strength the distance. "
            "Black is unknown, darkened colours are longer than the rim of the wheel.",
            wheel=picture_url(wheel_legend(192), lossless=True),
            rim=f"{readable(top)} px",
        ),
        _map(
            "Deformed grid",
            deformed_grid(small, target, legend=False),
            "Straight lines on the source, as the flow lays them on the target. Smooth is plausible; loops "
            "and tears are not.",
        ),
        _map(
            "Trusted",
            scalar.mask_overlay(target, trusted, legend=False),
            "Striped: outside the source, or not trusted.",
        ),
        _map(
            "Length of the flow",
            scalar.magnitude(small, top * factor, legend=False),
            "Distance between a target pixel and its source, in pixels. Grey stripes: unknown.",
            bar=_bar("viridis", number_labels(0, top)),
        ),
        _map(
            "Area and folds",
            scalar.jacobian(small, trusted, legend=False),
            "Source area per target pixel: blue is enlarged, orange reduced, black folded over. Grey "
            "stripes: not trusted.",
            bar=_bar("balance", ("1/4", "1", "4")),
        ),
    ]
    if alignment.confidence is not None:
        shown = cv2.resize(alignment.confidence, (width, height), interpolation=cv2.INTER_AREA)
        picture = colorize(np.asarray(shown, np.float32), 0, 1, "cividis")
        bar = _bar("cividis", number_labels(0, 1))
        maps.insert(3, _map("Confidence", picture, "How far the flow can be trusted, 1 at best.", bar=bar))
    return maps


def _map(
    name: str,
    picture: Picture,
    caption: str,
    *,
    bar: dict[str, Any] | None = None,
    wheel: str = "",
    rim: str = "",
) -> dict[str, Any]:
    url = picture_url(picture)
    return {"name": name, "url": url, "caption": caption, "bar": bar, "wheel": wheel, "rim": rim}


def _bar(name: Colormap, labels: tuple[str, str, str]) -> dict[str, Any]:
    """A scale bar: a CSS gradient, and the labels of its left end, middle and right end."""
    stops = palette(name)[np.linspace(0, 255, 17).astype(int)]
    gradient = ", ".join(f"rgb({r} {g} {b})" for r, g, b in stops)
    return {"gradient": f"linear-gradient(to right, {gradient})", "labels": labels}


def _fitted(picture: Picture, height: int, width: int) -> Picture:
    """The source as it was, as large as fits into the target's frame, on grey."""
    factor = min(height / picture.shape[0], width / picture.shape[1])
    rows, columns = (max(1, round(side * factor)) for side in picture.shape[:2])
    canvas = np.full((height, width, 3), 128, np.uint8)
    top, left = (height - rows) // 2, (width - columns) // 2
    canvas[top : top + rows, left : left + columns] = pair.resized(picture, rows, columns)
    return canvas


def correlation(first: Picture, second: Picture, where: Mask) -> float | None:
    """Correlation of two pictures' grey values in ``where``: 1 for equal up to brightness and contrast.

    Returns:
        A number in [-1, 1], or None where there is nothing to correlate.
    """
    a = cv2.cvtColor(first, cv2.COLOR_RGB2GRAY)[where].astype(np.float64)
    b = cv2.cvtColor(second, cv2.COLOR_RGB2GRAY)[where].astype(np.float64)
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])
