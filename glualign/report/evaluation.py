"""An evaluation as one HTML page: table, PCK curve, failures and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glualign.evaluation.pictures import Panel
from glualign.evaluation.published import ALL
from glualign.evaluation.tables import HEADERS, RIGHT_ALIGNED, groups_of, table_cells
from glualign.report.page import picture_url, write_page

_WIDTH, _HEIGHT = 560, 300
_COLOURS = ("#1b6ca8", "#c8553d", "#3f8f4f", "#8a5fb0", "#b38b00", "#4b4b4b", "#d06b9f", "#2a9d8f")


def write_evaluation(path: Path, content: Mapping[str, Any], panels: Sequence[Panel]) -> None:
    """Write the page for a result document and the pictures of some of its pairs.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        OutputError: the page cannot be written.
    """
    write_page(
        path,
        "evaluation.html",
        content=content,
        headers=HEADERS,
        right=RIGHT_ALIGNED,
        cells=table_cells(content["dataset"], groups_of(content)),
        curves=_curves(content),
        width=_WIDTH,
        height=_HEIGHT,
        panels=[_pictures(panel) for panel in panels],
    )


def _curves(content: Mapping[str, Any]) -> list[dict[str, str]]:
    """SVG points of the PCK curve of each method: x is alpha, y the share of pixels within alpha * L."""
    alphas = content["curve_alpha"]
    measured = [row for row in content["rows"] if row["group"] == ALL and row["metrics"]]
    curves = []
    for index, row in enumerate(measured):
        shares = zip(alphas, row["metrics"]["curve_pck"], strict=True)
        points = " ".join(
            f"{alpha / alphas[-1] * _WIDTH:.1f},{(1 - share) * _HEIGHT:.1f}" for alpha, share in shares
        )
        curves.append({"method": row["method"], "points": points, "colour": _COLOURS[index % len(_COLOURS)]})
    return curves


def _pictures(panel: Panel) -> dict[str, Any]:
    metrics = panel.result.metrics
    return {
        "kind": panel.kind,
        "pair": panel.result.pair,
        "method": panel.result.method,
        "aepe": f"{metrics.aepe:.2f}" if metrics else "",
        "images": [(caption, picture_url(image)) for caption, image in panel.images],
    }
