"""An evaluation as one HTML page: table, PCK curve, failures, and pictures of the worst and median pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from glualign.evaluation.datasets.base import Dataset, Pixels, Sample
from glualign.evaluation.methods import Method
from glualign.evaluation.metrics import PointTruth, size_of
from glualign.evaluation.runner import PairResult, load
from glualign.evaluation.tables import ALL, HEADERS, RIGHT_ALIGNED, table_cells
from glualign.flow import Flow, warp
from glualign.geometry import resize_flow
from glualign.report.page import picture_url, write_page
from glualign.viz.pair import shrunk
from glualign.viz.styles import colorize

PICTURE_SIDE = 360
# The colour scale of the error map ends at this share of L: the alpha of the usual PCK.
FULL_SCALE = 0.05
_WIDTH, _HEIGHT = 560, 300
_COLOURS = ("#1b6ca8", "#c8553d", "#3f8f4f", "#8a5fb0", "#b38b00", "#4b4b4b", "#d06b9f", "#2a9d8f")


def write_evaluation(path: Path, content: Mapping[str, Any], panels: Sequence[Mapping[str, Any]]) -> None:
    """Write the page for a result document and the `panels` of some of its pairs.

    Raises:
        MissingExtraError: Jinja2 is not installed.
        OutputError: the page cannot be written.
    """
    cells = table_cells(content["dataset"], content["rows"])
    shown: dict[str, Any] = {"content": content, "cells": cells, "panels": panels}
    shown |= {"headers": HEADERS, "right": RIGHT_ALIGNED}
    shown |= {"curves": _curves(content), "width": _WIDTH, "height": _HEIGHT}
    write_page(path, "evaluation.html", **shown)


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


def worst_and_median(results: Sequence[PairResult], count: int) -> list[tuple[str, PairResult]]:
    """The ``count`` pairs with the largest mean error, then ``count`` pairs around the median."""
    ranked = sorted((r for r in results if r.metrics), key=lambda r: (r.metrics and r.metrics.aepe, r.pair))
    worst = ranked[::-1][:count]
    middle = (len(ranked) - 1) / 2
    by_distance = sorted(range(max(len(ranked) - count, 0)), key=lambda rank: abs(rank - middle))
    median = [ranked[rank] for rank in sorted(by_distance[:count])]
    return [("worst", result) for result in worst] + [("median", result) for result in median]


def panels(
    dataset: Dataset, method: Method, results: Sequence[PairResult], count: int
) -> list[dict[str, Any]]:
    """What the page shows of the worst and the median pairs of ``method``, which is run on them again.

    Returns:
        Kind ("worst" or "median"), pair, method, mean error as text, and images as captions with URLs.
    """
    pairs = {pair.name: pair for pair in dataset.pairs}
    found = []
    for kind, result in worst_and_median([r for r in results if r.method == method.name], count):
        sample = load(pairs[result.pair])
        flow = method.estimate(sample).flow
        scale = max(FULL_SCALE * sample.longer_side, 1.0)
        warped, _ = warp(sample.source, Flow(np.asarray(flow, dtype=np.float32), size_of(sample.source)))
        images = {
            "source": sample.source,
            "target": sample.target,
            "warped source": warped,
            f"error, 0 to {scale:.0f} px": error_map(sample, flow, scale),
        }
        found.append(
            {
                "kind": kind,
                "pair": result.pair,
                "method": result.method,
                "aepe": f"{result.metrics.aepe:.2f}" if result.metrics else "",
                "images": [(name, picture_url(shrunk(each, PICTURE_SIDE))) for name, each in images.items()],
            }
        )
    return found


def error_map(sample: Sample, flow: npt.NDArray[np.floating], scale: float) -> Pixels:
    """The target in dark grey with the end-point error on top, dark (0) to bright (``scale`` px or more)."""
    grey = cv2.cvtColor(sample.target, cv2.COLOR_RGB2GRAY)
    canvas = np.repeat((grey // 3)[..., None], 3, axis=2)
    if isinstance(sample.truth, PointTruth):
        errors = sample.truth.errors(flow, sample.longer_side).epe
        radius = max(round(max(canvas.shape[:2]) / 90), 3)
        for (x, y), colour in zip(sample.truth.target, _colours(errors, scale), strict=True):
            cv2.circle(canvas, (round(x), round(y)), radius, colour.tolist(), -1, cv2.LINE_AA)
        return np.asarray(canvas, dtype=np.uint8)
    truth, mask = sample.truth, sample.truth.mask
    epe = np.linalg.norm(resize_flow(flow, size_of(mask)) - truth.flow, axis=-1)
    if mask.mean() < 0.01:  # scattered key points: single pixels would not be seen
        around = np.ones((7, 7), np.uint8)
        epe = cv2.dilate(np.where(mask, epe, 0).astype(np.float32), around)
        mask = cv2.dilate(mask.astype(np.uint8), around).astype(bool)
    canvas[mask] = _colours(epe[mask], scale)
    return np.asarray(canvas, dtype=np.uint8)


def _colours(errors: npt.NDArray[np.floating], scale: float) -> Pixels:
    """(N, 3) colours of N errors; one that is not finite is the brightest."""
    known = np.nan_to_num(errors, nan=scale, posinf=scale).astype(np.float32)
    return colorize(known[:, None], 0, scale, "inferno")[:, 0]
