"""One HTML file that shows whether an alignment worked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import glualign
from glualign.arrays import Doubles, Floats, Mask
from glualign.errors import FlowError
from glualign.flow import Flow, jacobian_determinant, warp
from glualign.images import Image, to_rgb8
from glualign.report.page import write_page
from glualign.report.pictures import draw_pictures
from glualign.viz.canvas import check_size, readable
from glualign.viz.styles import check_pair

if TYPE_CHECKING:
    from glualign.alignment import Alignment

VERDICTS = ("good", "doubtful", "failed")
_SHOWN_OF_FLOW = ("valid_share", "trusted_share", "folding_share")
_MEANINGS = {
    "median_error": "Median difference of forward and backward flow.",
    "edge_agreement": "How far edges run alike: up to 0.1 in unrelated images, from 0.4 in alike ones.",
    "content_agreement": "Squared correlation of what is between common edges: from 0.2 if alike.",
    "inlier_share": "Share of the trusted flow that the transform explains.",
}


@dataclass(frozen=True, eq=False)
class SavedAlignment:
    """A pair with a flow from a file, and what else was kept of its `Alignment`."""

    source: Image  # the image that moves
    target: Image  # the image whose grid the flow has
    flow: Flow  # target -> source, in source pixels
    valid: Mask  # ``(H, W)`` bool, where the flow stays inside the source
    trusted: Mask  # ``(H, W)`` bool, valid and inside the mask, if there is one
    warped: Image  # the source on the target's grid
    model: str  # the network, or the name of the flow's file
    confidence: Floats | None = None  # ``(H, W)`` float32 from 0 to 1, or None
    transform: Doubles | None = None  # 3x3, target pixel -> source pixel, or None
    device: str = ""  # where it was computed, if that is known
    quality: Mapping[str, Any] = field(default_factory=dict)  # verdict and numbers, if they are known
    timings: Mapping[str, float] = field(default_factory=dict)  # seconds by step, if they are known


def saved_alignment(
    source: Image,
    target: Image,
    flow: Flow,
    name: str = "saved flow",
    *,
    mask: Mask | None = None,
    confidence: Floats | None = None,
    summary: Mapping[str, Any] | None = None,
) -> SavedAlignment:
    """Warp the source by a saved flow.

    Args:
        source: the image that moves.
        target: the image whose grid the flow has.
        flow: target -> source, in source pixels.
        name: where the flow comes from.
        mask: ``(H, W)`` bool, the pixels that the alignment trusted.
        confidence: ``(H, W)`` float32 from 0 to 1.
        summary: what `read_summary` returns.

    Raises:
        FlowError: flow, mask or confidence do not belong to images of these sizes.
    """
    rgb = to_rgb8(source)
    flow = flow if flow.source_size else Flow(flow.data, source.size)
    check_pair(rgb, to_rgb8(target), flow)
    for what, values in (("the mask", mask), ("the confidence map", confidence)):
        if values is not None:
            check_size(what, values, flow.size)
    warped, valid = warp(rgb, flow)
    known = dict(summary or {})
    model = known.pop("model", "")
    return SavedAlignment(
        source,
        target,
        flow,
        valid,
        valid if mask is None else valid & mask,
        Image(warped),
        f"{model}, flow from {name}" if model else name,
        confidence,
        **known,
    )


def read_summary(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What ``glualign warp --json`` printed, from a file: quality, transform, model, device and timings.

    Raises:
        FlowError: the file cannot be read, or holds something else.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        quality = dict(content["quality"])
        if quality["verdict"] not in VERDICTS:
            raise ValueError
        matrix = content.get("transform")
        transform = None if matrix is None else np.asarray(matrix, np.float64).reshape(3, 3)
        timings = {str(step): float(seconds) for step, seconds in content.get("timings", {}).items()}
    except OSError as error:
        raise FlowError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError) as error:
        raise FlowError(f"{path}: not a summary; keep what glualign warp --json prints") from error
    words = {name: str(content.get(name, "")) for name in ("model", "device")}
    return {"quality": quality, "transform": transform, "timings": timings, **words}


def build_report(
    alignment: Alignment | SavedAlignment,
    path: str | os.PathLike[str],
    *,
    command: str | None = None,
    title: str | None = None,
    max_side: int = 1400,
) -> None:
    """Write the report of one alignment.

    Args:
        alignment: an `Alignment`, or what `saved_alignment` returns.
        path: the HTML file.
        command: the command line that made it, to be shown and repeated.
        title: heading; None names both images.
        max_side: longer side of the pictures in pixels.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        OutputError: the file cannot be written.
    """
    pictures = draw_pictures(alignment, max_side)
    quality = alignment.quality if isinstance(alignment, SavedAlignment) else alignment.quality.to_dict()
    matrix = alignment.transform
    write_page(
        Path(path),
        "alignment.html",
        script="alignment.js",
        title=title or f"{alignment.source.name} on {alignment.target.name}",
        source_name=alignment.source.name,
        target_name=alignment.target.name,
        verdict=quality.get("verdict"),
        pictures=pictures,
        quality=[
            *_flow_rows(alignment.flow, alignment.valid, alignment.trusted),
            *_correlation_rows(pictures["correlations"]),
            *_quality_rows(quality),
        ],
        run=_run_rows(alignment),
        matrix=[] if matrix is None else [[f"{value:.6g}" for value in row] for row in matrix],
        command=command,
    )


class _TableRow(NamedTuple):
    """One line of a table: a name, a value with its unit, and how to read it (one sentence or nothing)."""

    name: str
    value: str
    meaning: str = ""


def _flow_rows(flow: Flow, valid: Mask, trusted: Mask) -> list[_TableRow]:
    """Coverage of a flow, and its lengths and folds where it is ``trusted``."""
    lengths = flow.magnitude[trusted]
    rows = [
        _TableRow("Valid", f"{100 * valid.mean():.1f} %", "Share of the target that the source reaches."),
        _TableRow("Trusted", f"{100 * trusted.mean():.1f} %", "Share where the flow is likely right."),
    ]
    if lengths.size:
        middle, high = (readable(float(value)) for value in np.percentile(lengths, [50, 95]))
        rows += [
            _TableRow("Median motion", f"{middle} px", "Half of the trusted pixels move less than this."),
            _TableRow("95 % move less than", f"{high} px"),
        ]
    if trusted.any() and min(flow.size) >= 2:
        with np.errstate(invalid="ignore"):
            folded = (jacobian_determinant(flow) <= 0)[trusted].mean()
        meaning = "Share of the trusted pixels where the map turns over and has no inverse."
        rows.append(_TableRow("Folded", f"{100 * folded:.2g} %", meaning))
    return rows


def _correlation_rows(correlations: list[float]) -> list[_TableRow]:
    """Correlation of source and target on the trusted pixels, unaligned and aligned; nothing if not known."""
    if not correlations:
        return []
    meaning = (
        "Correlation of the grey values, 1 at best, with the source as it was and warped. "
        "Says little when the two images come from different kinds of sensor."
    )
    before, after = correlations
    return [_TableRow("Correlation, before and after", f"{before:.2f} to {after:.2f}", meaning)]


def _quality_rows(quality: Mapping[str, Any]) -> list[_TableRow]:
    """The numbers of a quality that `_flow_rows` does not show: names made readable, values shortened."""
    rows = []
    for name, value in quality.items():
        if name in _SHOWN_OF_FLOW or isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if np.isfinite(value):
            unit = " px" if name.endswith("_error") else ""
            text = f"{100 * value:.1f} %" if name.endswith("_share") else readable(float(value)) + unit
            rows.append(_TableRow(_words(name), text, _MEANINGS.get(name, "")))
    return rows


def _run_rows(alignment: Alignment | SavedAlignment) -> list[_TableRow]:
    """Images, model and device, seconds by step, and when the report was made."""
    images = {"Source": alignment.source, "Target": alignment.target}
    rows = [_TableRow(what, f"{each.name}, {each.width} x {each.height} px") for what, each in images.items()]
    rows.append(_TableRow("Model", alignment.model))
    if alignment.device:
        rows.append(_TableRow("Device", alignment.device))
    for step, seconds in alignment.timings.items():
        text = f"{seconds:.2f} s" if seconds >= 0.005 else "under 0.01 s"
        rows.append(_TableRow(_words(step), text))
    made = f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z} by glualign {glualign.__version__}"
    return [*rows, _TableRow("Made", made)]


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]
