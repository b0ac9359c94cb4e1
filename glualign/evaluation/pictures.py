"""Pictures of single pairs: source, target, the source warped onto the target, where the flow is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from glualign.evaluation.datasets.base import Dataset, Pixels, Sample
from glualign.evaluation.methods import Method
from glualign.evaluation.results import PairResult
from glualign.evaluation.runner import load
from glualign.evaluation.truth import PointTruth
from glualign.flow import Flow, warp
from glualign.geometry import resize_flow

PICTURE_SIDE = 360
# The colour scale of the error map ends at this share of L: the alpha of the usual PCK.
FULL_SCALE = 0.05


@dataclass(frozen=True, eq=False)
class Panel:
    """One pair in pictures, (H, W, 3) uint8 RGB each, at most `PICTURE_SIDE` px.

    Attributes:
        kind: "worst" or "median".
        result: what was measured on the pair.
        scale: end-point error in pixels at which the error map is brightest.
        images: caption and picture, in the order source, target, warped, error.
    """

    kind: str
    result: PairResult
    scale: float
    images: tuple[tuple[str, Pixels], ...]


def worst_and_median(results: Sequence[PairResult], count: int) -> list[tuple[str, PairResult]]:
    """The ``count`` pairs with the largest mean error, then ``count`` pairs around the median."""
    ranked = sorted((r for r in results if r.metrics), key=lambda r: (r.metrics and r.metrics.aepe, r.pair))
    worst = ranked[::-1][:count]
    middle = (len(ranked) - 1) / 2
    by_distance = sorted(range(max(len(ranked) - count, 0)), key=lambda rank: abs(rank - middle))
    median = [ranked[rank] for rank in sorted(by_distance[:count])]
    return [("worst", result) for result in worst] + [("median", result) for result in median]


def panels(dataset: Dataset, method: Method, results: Sequence[PairResult], count: int) -> list[Panel]:
    """Pictures of the worst and the median pairs of ``method``, which is run on them again."""
    pairs = {pair.name: pair for pair in dataset.pairs}
    mine = [result for result in results if result.method == method.name]
    return [
        _panel(kind, result, load(pairs[result.pair]), method)
        for kind, result in worst_and_median(mine, count)
    ]


def error_map(sample: Sample, flow: npt.NDArray[np.floating], scale: float) -> Pixels:
    """The target in dark grey with the end-point error on top, dark (0) to bright (``scale`` px or more)."""
    grey = cv2.cvtColor(sample.target, cv2.COLOR_RGB2GRAY)
    canvas = np.repeat((grey // 3)[..., None], 3, axis=2)
    if isinstance(sample.truth, PointTruth):
        errors = sample.truth.errors(flow, sample.longer_side).epe
        radius = max(round(max(canvas.shape[:2]) / 90), 3)
        for (x, y), colour in zip(sample.truth.target, _colours(errors, scale), strict=True):
            cv2.circle(
                canvas, (round(x), round(y)), radius, [int(value) for value in colour], -1, cv2.LINE_AA
            )
        return np.asarray(canvas, dtype=np.uint8)
    truth = sample.truth
    epe = np.linalg.norm(resize_flow(flow, (truth.mask.shape[0], truth.mask.shape[1])) - truth.flow, axis=-1)
    mask = truth.mask
    if mask.mean() < 0.01:  # scattered key points: single pixels would not be seen
        mask = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool)
        epe = cv2.dilate(np.where(truth.mask, epe, 0).astype(np.float32), np.ones((7, 7), np.uint8))
    canvas[mask] = _colours(epe[mask], scale)
    return np.asarray(canvas, dtype=np.uint8)


def _panel(kind: str, result: PairResult, sample: Sample, method: Method) -> Panel:
    flow = method.estimate(sample).flow
    scale = max(FULL_SCALE * sample.longer_side, 1.0)
    source_size = sample.source.shape[0], sample.source.shape[1]
    warped, _ = warp(sample.source, Flow(np.asarray(flow, dtype=np.float32), source_size))
    images = (
        ("source", sample.source),
        ("target", sample.target),
        ("warped source", np.asarray(warped, dtype=np.uint8)),
        (f"error, 0 to {scale:.0f} px", error_map(sample, flow, scale)),
    )
    return Panel(kind, result, scale, tuple((caption, _small(image)) for caption, image in images))


def _colours(errors: npt.NDArray[np.floating], scale: float) -> npt.NDArray[np.uint8]:
    levels = np.clip(np.nan_to_num(errors, nan=scale, posinf=scale) / scale * 255, 0, 255).astype(np.uint8)
    bgr = cv2.applyColorMap(levels.reshape(-1, 1), cv2.COLORMAP_INFERNO)
    return np.asarray(bgr[:, 0, ::-1], dtype=np.uint8)


def _small(image: Pixels) -> Pixels:
    scale = min(1.0, PICTURE_SIDE / max(image.shape[:2]))
    size = max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
