"""One HTML file that shows whether an alignment worked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

import glualign
from glualign.errors import FlowError
from glualign.flow import Flow, warp
from glualign.images import Image, to_rgb8
from glualign.report.page import write_page
from glualign.report.pictures import draw_pictures
from glualign.report.rows import (
    TableRow,
    correlation_rows,
    flow_rows,
    matrix_rows,
    quality_rows,
    timing_rows,
)
from glualign.viz.canvas import check_size
from glualign.viz.styles import check_pair

if TYPE_CHECKING:
    from glualign.alignment import Alignment

VERDICTS = ("good", "doubtful", "failed")


@dataclass(frozen=True, eq=False)
class SavedAlignment:
    """A pair with a flow from a file, and what else was kept of its `Alignment`.

    Attributes:
        source: the image that moves.
        target: the image whose grid the flow has.
        flow: target -> source, in source pixels.
        valid: ``(H, W)`` bool, where the flow stays inside the source.
        trusted: ``(H, W)`` bool, valid and inside the mask, if there is one.
        warped: the source on the target's grid.
        model: the network, or the name of the flow's file.
        confidence: ``(H, W)`` float32 from 0 to 1, or None.
        transform: 3x3, target pixel -> source pixel, or None.
        device: where it was computed, if that is known.
        quality: verdict and numbers, empty if they are not known.
        timings: seconds by step, if they are known.
    """

    source: Image
    target: Image
    flow: Flow
    valid: npt.NDArray[np.bool_]
    trusted: npt.NDArray[np.bool_]
    warped: Image
    model: str
    confidence: npt.NDArray[np.float32] | None = None
    transform: npt.NDArray[np.float64] | None = None
    device: str = ""
    quality: Mapping[str, Any] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict)


def saved_alignment(
    source: Image,
    target: Image,
    flow: Flow,
    name: str = "saved flow",
    *,
    mask: npt.NDArray[np.bool_] | None = None,
    confidence: npt.NDArray[np.float32] | None = None,
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
    if mask is not None:
        check_size("the mask", mask, flow.size)
    if confidence is not None:
        check_size("the confidence map", confidence, flow.size)
    warped, valid = warp(rgb, flow)
    known = summary or {}
    return SavedAlignment(
        source,
        target,
        flow,
        valid,
        valid if mask is None else valid & mask,
        Image(warped),
        f"{known['model']}, flow from {name}" if known.get("model") else name,
        confidence,
        known.get("transform"),
        known.get("device", ""),
        known.get("quality", {}),
        known.get("timings", {}),
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
    made = f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z} by glualign {glualign.__version__}"
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
            *flow_rows(alignment.flow, alignment.valid, alignment.trusted),
            *correlation_rows(pictures.correlation_before, pictures.correlation_after),
            *quality_rows(quality),
        ],
        run=[
            TableRow("Source", f"{alignment.source.name}, {_size(alignment.source)}"),
            TableRow("Target", f"{alignment.target.name}, {_size(alignment.target)}"),
            TableRow("Model", alignment.model),
            *([TableRow("Device", alignment.device)] if alignment.device else []),
            *timing_rows(alignment.timings),
            TableRow("Made", made),
        ],
        matrix=matrix_rows(alignment.transform),
        command=command,
    )


def _size(image: Image) -> str:
    return f"{image.width} x {image.height} px"
