"""The evaluation as one self-contained HTML page: table, PCK curve, failures and pictures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from glualign.errors import MissingExtraError
from glualign.evaluation.datasets.base import Pixels
from glualign.evaluation.pictures import Panel
from glualign.evaluation.published import ALL
from glualign.evaluation.tables import HEADERS, RIGHT_ALIGNED, groups_of, table_cells
from glualign.files import write_text

_WIDTH, _HEIGHT = 560, 300
_COLOURS = ("#1b6ca8", "#c8553d", "#3f8f4f", "#8a5fb0", "#b38b00", "#4b4b4b", "#d06b9f", "#2a9d8f")


def write_html(path: Path, content: Mapping[str, Any], panels: Sequence[Panel]) -> None:
    """Write the page for a result document and the pictures of some of its pairs.

    Raises:
        MissingExtraError: jinja2 is not installed.
        OutputError: the page cannot be written.
    """
    write_text(path, render(content, panels))


def render(content: Mapping[str, Any], panels: Sequence[Panel]) -> str:
    """The page as text."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise MissingExtraError(
            "the HTML page needs jinja2; install it with: pip install glualign[report]"
        ) from error
    loader = PackageLoader("glualign.evaluation", "templates")
    template = Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template(
        "evaluation.html"
    )
    return str(
        template.render(
            content=content,
            headers=HEADERS,
            right=RIGHT_ALIGNED,
            cells=table_cells(content["dataset"], groups_of(content)),
            curves=_curves(content),
            width=_WIDTH,
            height=_HEIGHT,
            panels=[_picture_row(panel) for panel in panels],
        )
    )


def _curves(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """SVG points of the PCK curve of each method: x is alpha, y the share of pixels within alpha * L."""
    alphas = content["curve_alpha"]
    curves = []
    for index, row in enumerate(
        entry for entry in content["rows"] if entry["group"] == ALL and entry["metrics"]
    ):
        pairs = zip(alphas, row["metrics"]["curve_pck"], strict=True)
        points = " ".join(
            f"{alpha / alphas[-1] * _WIDTH:.1f},{(1 - share) * _HEIGHT:.1f}" for alpha, share in pairs
        )
        curves.append({"method": row["method"], "points": points, "colour": _COLOURS[index % len(_COLOURS)]})
    return curves


def _picture_row(panel: Panel) -> dict[str, Any]:
    metrics = panel.result.metrics
    return {
        "kind": panel.kind,
        "pair": panel.result.pair,
        "method": panel.result.method,
        "aepe": f"{metrics.aepe:.2f}" if metrics else "",
        "images": [(caption, _data_uri(image)) for caption, image in panel.images],
    }


def _data_uri(image: Pixels) -> str:
    _, buffer = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return "data:image/jpeg;base64," + base64.b64encode(buffer.tobytes()).decode("ascii")
