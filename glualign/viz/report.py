"""One HTML file that shows whether an alignment worked; opens anywhere, asks the network for nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

import glualign
from glualign.errors import MissingExtraError
from glualign.files import write_text
from glualign.flow import Flow, warp
from glualign.images import Image, to_rgb8
from glualign.viz.figures import (
    Figure,
    flow_figures,
    likeness_figures,
    matrix_rows,
    record_figures,
    timing_figures,
)
from glualign.viz.report_pictures import AssetStore, draw_pictures
from glualign.viz.styles import check_pair


class AlignmentLike(Protocol):
    """What a report shows; `glualign.alignment.Alignment` has all of it, and so has `SavedAlignment`."""

    @property
    def source(self) -> Image: ...  # noqa: D102
    @property
    def target(self) -> Image: ...  # noqa: D102
    @property
    def flow(self) -> Flow: ...  # noqa: D102
    @property
    def valid(self) -> npt.NDArray[np.bool_]: ...  # noqa: D102
    @property
    def warped(self) -> Image: ...  # noqa: D102
    @property
    def model(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class SavedAlignment:
    """A pair with a flow from a file: what is known of it without running the network.

    Attributes:
        source: the image that moves.
        target: the image whose grid the flow has.
        flow: target -> source, in source pixels.
        valid: ``(H, W)`` bool, where the flow stays inside the source.
        warped: the source on the target's grid.
        model: where the flow comes from.
        confidence: not known.
        transform: not known.
        quality: not known.
        timings: none.
    """

    source: Image
    target: Image
    flow: Flow
    valid: npt.NDArray[np.bool_]
    warped: Image
    model: str = "saved flow"
    confidence: npt.NDArray[np.float32] | None = None
    transform: npt.NDArray[np.float64] | None = None
    quality: Any = None
    timings: Mapping[str, float] = field(default_factory=dict)


def saved_alignment(source: Image, target: Image, flow: Flow, name: str = "saved flow") -> SavedAlignment:
    """Warp the source by a saved flow.

    Raises:
        FlowError: the flow does not belong to images of these sizes.
    """
    rgb = to_rgb8(source)
    flow = flow if flow.source_size else Flow(flow.data, source.size)
    check_pair(rgb, to_rgb8(target), flow)
    warped, valid = warp(rgb, flow)
    return SavedAlignment(source, target, flow, valid, Image(warped), model=name)


def build_report(
    alignment: AlignmentLike,
    path: str | os.PathLike[str],
    *,
    command: str | None = None,
    title: str | None = None,
    assets: bool = False,
    max_side: int = 1400,
) -> list[Path]:
    """Write the report of one alignment.

    Args:
        alignment: an `Alignment`, or what `saved_alignment` returns.
        path: the HTML file.
        command: the command line that made it, to be shown and repeated.
        title: heading; None names both images.
        assets: put the pictures into the folder ``<stem>_assets`` beside the file instead of into it.
        max_side: longer side of the pictures in pixels.

    Returns:
        The files written, the HTML file first.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        OutputError: a file cannot be written.
    """
    template = _template()
    path = Path(path)
    store = AssetStore(path if assets else None)
    pictures = draw_pictures(alignment, store, max_side)
    quality = getattr(alignment, "quality", None)
    verdict = getattr(quality, "verdict", None)
    page = template.render(
        title=title or f"{alignment.source.name} on {alignment.target.name}",
        source_name=alignment.source.name,
        target_name=alignment.target.name,
        verdict=str(verdict) if verdict else None,
        pictures=pictures,
        quality=[
            *flow_figures(alignment.flow, alignment.valid),
            *likeness_figures(pictures.likeness_before, pictures.likeness_after),
            *(
                row
                for row in record_figures(quality)
                if row.name not in {"Verdict", "Valid share", "Folding share"}
            ),
        ],
        run=[
            Figure("Source", f"{alignment.source.name}, {_size(alignment.source)}"),
            Figure("Target", f"{alignment.target.name}, {_size(alignment.target)}"),
            Figure("Model", alignment.model),
            *([Figure("Device", str(device))] if (device := getattr(alignment, "device", None)) else []),
            *timing_figures(getattr(alignment, "timings", None)),
            Figure(
                "Made", f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z} by glualign {glualign.__version__}"
            ),
        ],
        matrix=matrix_rows(getattr(alignment, "transform", None)),
        command=command,
        image_sources="'self' file: data:" if assets else "data:",
    )
    write_text(path, page)
    return [path, *store.written]


def _size(image: Image) -> str:
    return f"{image.width} x {image.height} px"


def _template() -> Any:
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("the report needs Jinja2: pip install 'glualign[report]'") from error
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    folder = resources.files("glualign.viz") / "templates"
    parts = {name: (folder / name).read_text("utf-8") for name in ("report.html", "report.css", "report.js")}
    environment.loader = jinja2.DictLoader(parts)
    return environment.get_template("report.html")
