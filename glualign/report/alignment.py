"""One HTML file that shows whether an alignment worked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import glualign
from glualign.alignment import Alignment
from glualign.arrays import Mask
from glualign.errors import FlowError
from glualign.flow import Flow, jacobian_determinant, resize
from glualign.images import Image, reduce_image, to_rgb8
from glualign.quality import VERDICTS, Quality
from glualign.report.page import picture_url, write_page
from glualign.styles import Style
from glualign.viz.canvas import Picture, check_size, readable
from glualign.viz.colors import palette, scale_of, wheel_disc
from glualign.viz.styles import draw, filled, red_cyan, resized

_SHOWN_OF_FLOW = ("valid_share", "trusted_share", "folding_share")


def saved_alignment(
    source: Image,
    target: Image,
    flow: Flow,
    name: str = "saved flow",
    *,
    mask: Mask | None = None,
    confidence: Any = None,
    summary: Mapping[str, Any] | None = None,
) -> Alignment:
    """What is known of a pair, seen as 8-bit RGB, with a flow, target -> source, from the file ``name``.

    ``mask``, ``(H, W)`` bool, are the pixels that the alignment trusted, ``confidence`` is ``(H, W)`` float32
    from 0 to 1 or None, and ``summary`` what `read_summary` returns, without which the quality is None.
    A `FlowError` says that the target, mask or confidence is of another size than the flow.
    """
    source, target = (Image(to_rgb8(image), path=image.path) for image in (source, target))
    flow = flow if flow.source_size else Flow(flow.data, source.size)
    check_size("the target", target.pixels, flow.size)
    check_size("the mask", mask, flow.size)
    check_size("the confidence map", confidence, flow.size)
    known: dict[str, Any] = {"quality": None, "transform": None, **(summary or {})}
    model = f"{known['model']}, flow from {name}" if known.get("model") else name
    trusted = flow.valid() if mask is None else flow.valid() & mask
    return Alignment(source, target, flow, trusted, confidence, **known | {"model": model})


def read_summary(path: str | os.PathLike[str], source: Image, target: Image) -> dict[str, Any]:
    """What ``glualign warp --json`` printed, from a file: quality, transform, model, device and timings.

    A `FlowError` says that the file cannot be read, holds something else, or is of images of other sizes.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        quality = Quality(**content["quality"])
        if quality.verdict not in VERDICTS:
            raise ValueError
        matrix = content.get("transform")
        transform = None if matrix is None else np.asarray(matrix, np.float64).reshape(3, 3)
        sizes = [list(content[role]["size"]) for role in ("source", "target")]
        timings = {str(step): float(seconds) for step, seconds in content.get("timings", {}).items()}
    except OSError as error:
        raise FlowError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise FlowError(f"{path}: not a summary; keep what glualign warp --json prints") from error
    if sizes != [[*source.size], [*target.size]]:
        raise FlowError(f"{path}: is of another pair, whose images have other sizes; give the one of this")
    words = {name: str(content.get(name, "")) for name in ("model", "device")}
    return {"quality": quality, "transform": transform, "timings": timings, **words}


def build_report(
    alignment: Alignment,
    path: str | os.PathLike[str],
    *,
    command: str | None = None,
    title: str | None = None,
    max_side: int = 1400,
) -> None:
    """Write the report of one alignment; raises as `write_page`.

    Args:
        alignment: an `Alignment`, or what `saved_alignment` returns.
        path: the HTML file.
        command: the command line that made it.
        title: heading; None names both images.
        max_side: longer side of the pictures in pixels, whatever the size of the images.
    """
    source, target, matrix = alignment.source, alignment.target, alignment.transform
    below = reduce_image(to_rgb8(target), max_side)
    height, width = below.shape[:2]
    warped = resized(to_rgb8(alignment.warped), height, width)
    valid, trusted = (
        resized(mask.astype(np.uint8) * 255, height, width) >= 128
        for mask in (alignment.valid, alignment.trusted)
    )
    unaligned = _fitted(to_rgb8(source), height, width)
    quality = asdict(alignment.quality) if alignment.quality else {}
    pictures = {
        "target": below,
        "warped": filled(warped, below, valid),
        "source": unaligned,
        "difference": filled(red_cyan(below, warped), below, valid),
        "difference_before": red_cyan(below, unaligned),
    }
    write_page(
        Path(path),
        "alignment.html",
        script="alignment.js",
        title=title or f"{source.name} on {target.name}",
        source_name=source.name,
        target_name=target.name,
        verdict=quality.get("verdict"),
        width=width,
        height=height,
        pictures={name: picture_url(picture) for name, picture in pictures.items()},
        maps=list(_maps(alignment, below, trusted)),
        wheel=picture_url(wheel_disc(192), lossless=True),
        quality=_quality_rows(
            alignment, quality, *(correlation(below, each, trusted) for each in (unaligned, warped))
        ),
        run=_run_rows(alignment),
        matrix=[[f"{x:.6g}" for x in row] for row in matrix] if matrix is not None else [],
        command=command,
    )


def _maps(alignment: Alignment, target: Picture, trusted: Mask) -> Iterator[dict[str, Any]]:
    """Pictures of the flow at the size of ``target``: style, drawing, URL and colours of the scale."""
    flow = small = alignment.flow
    height, width = target.shape[:2]
    factor = height / flow.height
    if (height, width) != flow.size:
        rows, columns = (max(1, round(side * factor)) for side in flow.source_frame)
        small = resize(flow, (height, width), (rows, columns))
    # Vectors of the small flow are shorter; the legends speak of the images' own pixels.
    lengths = Flow(small.data / np.float32(factor), flow.source_size)
    drawn: dict[Style, Flow] = {"wheel": lengths, "grid": small, "mask": small}
    drawn |= {"magnitude": lengths, "jacobian": small}
    how: dict[str, Any] = {"target": target, "valid": trusted}
    if alignment.confidence is not None:
        drawn["confidence"] = small
        how["confidence"] = cv2.resize(alignment.confidence, (width, height), interpolation=cv2.INTER_AREA)
    top = scale_of(flow)
    for style, shown in drawn.items():
        (drawing,) = draw(shown, style, max_flow=top, **how)
        stops = palette(drawing.colors)[::15].tolist() if drawing.colors else []
        yield {"style": style, "drawing": drawing, "url": picture_url(drawing.picture), "stops": stops}


def _fitted(picture: Picture, height: int, width: int) -> Picture:
    """The source as it was, as large as fits into the target's frame, on grey."""
    factor = min(height / picture.shape[0], width / picture.shape[1])
    rows, columns = (max(1, round(side * factor)) for side in picture.shape[:2])
    top, left = (height - rows) // 2, (width - columns) // 2
    rest = top, height - rows - top, left, width - columns - left
    framed = cv2.copyMakeBorder(resized(picture, rows, columns), *rest, cv2.BORDER_CONSTANT, value=(128,) * 3)
    return np.asarray(framed, np.uint8)


def correlation(first: Picture, second: Picture, where: Mask) -> float | None:
    """Correlation of two pictures' grey values in ``where``: 1 for equal up to brightness and contrast.

    None where there is nothing to correlate.
    """
    a, b = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY)[where].astype(np.float64) for each in (first, second))
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def _quality_rows(
    alignment: Alignment, quality: Mapping[str, Any], *correlations: float | None
) -> dict[str, str]:
    """Coverage, lengths and folds of the flow, correlation before and after, and what else was measured."""
    flow, trusted = alignment.flow, alignment.trusted
    rows = {name: f"{100 * getattr(alignment, name.lower()).mean():.1f} %" for name in ("Valid", "Trusted")}
    if trusted.any():
        middle, high = (readable(float(value)) for value in np.percentile(flow.magnitude[trusted], [50, 95]))
        rows |= {"Median motion": f"{middle} px", "95 % move less than": f"{high} px"}
        with np.errstate(invalid="ignore"):
            folded = (jacobian_determinant(flow) <= 0)[trusted].mean()
        rows["Folded"] = f"{100 * folded:.2g} %"
    known = [f"{value:.2f}" for value in correlations if value is not None]
    if len(known) == 2:
        rows["Correlation, before and after"] = " to ".join(known)
    for name, value in quality.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)
        if number and name not in _SHOWN_OF_FLOW:
            unit = " px" if name.endswith("_error") else ""
            text = f"{100 * value:.1f} %" if name.endswith("_share") else readable(float(value)) + unit
            rows[_words(name)] = text
    return rows


def _run_rows(alignment: Alignment) -> dict[str, str]:
    """Images, model and device, seconds by step, and when the report was made."""
    images = {"Source": alignment.source, "Target": alignment.target}
    rows = {what: f"{each.name}, {each.width} x {each.height} px" for what, each in images.items()}
    rows |= {"Model": alignment.model, "Device": alignment.device}
    for step, seconds in alignment.timings.items():
        rows[_words(step)] = f"{seconds:.2f} s" if seconds >= 0.005 else "under 0.01 s"
    rows["Made"] = f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z} by glualign {glualign.__version__}"
    return {name: value for name, value in rows.items() if value}


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()
