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
from glualign.evaluation.metrics import PointTruth, scattered
from glualign.evaluation.runner import PairResult
from glualign.evaluation.tables import ALL, HEADERS, RIGHT_ALIGNED, table_cells
from glualign.flow import Flow, warp
from glualign.geometry import size_of
from glualign.images import reduce_image
from glualign.report.page import picture_url, write_page
from glualign.viz.styles import colorize

PICTURE_SIDE = 360
# The colour scale of the error map ends at this share of L: the alpha of the usual PCK.
FULL_SCALE = 0.05


def write_evaluation(path: Path, content: Mapping[str, Any], panels: Sequence[Mapping[str, Any]]) -> None:
    """Write the page for a result document and the `panels` of some of its pairs; raises as `write_page`."""
    cells = table_cells(content["dataset"], content["rows"])
    curves = [row for row in content["rows"] if row["group"] == ALL and row["metrics"]]
    shown: dict[str, Any] = {"content": content, "cells": cells, "curves": curves, "panels": panels}
    write_page(path, "evaluation.html", headers=HEADERS, right=RIGHT_ALIGNED, **shown)


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

    That is kind ("worst" or "median"), result, and URLs of images by their captions.
    """
    pairs = {pair.name: pair for pair in dataset.pairs}
    found = []
    for kind, result in worst_and_median([r for r in results if r.method == method.name], count):
        sample = pairs[result.pair].load()
        flow = method.estimate(sample).flow
        scale = max(FULL_SCALE * sample.longer_side, 1.0)
        warped, _ = warp(sample.source, Flow(np.asarray(flow, dtype=np.float32), size_of(sample.source)))
        images = {
            "source": sample.source,
            "target": sample.target,
            "warped source": warped,
            f"error, 0 to {scale:.0f} px": error_map(sample, flow, scale),
        }
        urls = {name: picture_url(reduce_image(image, PICTURE_SIDE)) for name, image in images.items()}
        found.append({"kind": kind, "result": result, "images": urls})
    return found


def error_map(sample: Sample, flow: npt.NDArray[np.floating], scale: float) -> Pixels:
    """The target in dark grey with the end-point error on top, dark (0) to bright (``scale`` px or more)."""
    grey, truth = cv2.cvtColor(sample.target, cv2.COLOR_RGB2GRAY), sample.truth
    canvas = np.repeat((grey // 3)[..., None], 3, axis=2)
    if isinstance(truth, PointTruth):
        truth = scattered(truth.target, truth.source, size_of(grey))
    mask, epe = truth.mask, np.zeros(truth.mask.shape, np.float32)
    epe[mask] = np.nan_to_num(truth.errors(flow, sample.longer_side).epe, nan=scale, posinf=scale)
    if mask.mean() < 0.01:  # scattered key points: single pixels would not be seen
        side = 2 * max(round(max(mask.shape) / 90), 3) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        epe = np.asarray(cv2.dilate(epe, disc), np.float32)
        mask = cv2.dilate(mask.astype(np.uint8), disc).astype(bool)
    canvas[mask] = colorize(epe, 0, scale, "inferno")[mask]
    return np.asarray(canvas, dtype=np.uint8)
