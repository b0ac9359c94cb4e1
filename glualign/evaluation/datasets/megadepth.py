"""MegaDepth (or RobotCar): pairs of a csv with sparse correspondences, in the protocol of RANSAC-Flow."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from glualign.evaluation.datasets import base
from glualign.evaluation.truth import PointTruth
from glualign.geometry import Points

HOW = (
    "download the MegaDepth test images and test1600Pairs.csv of RANSAC-Flow "
    "(https://github.com/XiSHEN0220/RANSAC-Flow); put the csv into ROOT or name it with --list"
)
_COLUMNS = ("scene", "source_image", "target_image", "XA", "YA", "XB", "YB")
_SMALLER_SIDE = 480
_STRIDE = 16


def megadepth(root: Path, *, pair_list: Path | None = None) -> base.Dataset:
    """Points A lie in the source, points B in the target; PCK is pooled over all points of the data set."""
    path = pair_list or base.require_folder(root, ["."], HOW) / "test1600Pairs.csv"
    pairs = (
        base.EvalPair(f"{index:04d}", partial(_load, root, row, where))
        for index, (where, row) in enumerate(base.read_rows(path, _COLUMNS, HOW))
    )
    return base.Dataset("megadepth", "MegaDepth", base.require_pairs(pairs, path, HOW), pooled_pck=True)


def _load(root: Path, row: Mapping[str, str], where: str) -> base.Sample:
    source_points, target_points = base.point_columns(row, where)
    folder = root / row["scene"].strip("/")
    source, source_points = _fit(base.load_rgb(folder / row["source_image"]), source_points)
    target, target_points = _fit(base.load_rgb(folder / row["target_image"]), target_points)
    shown = _shown(source_points, source) & _shown(target_points, target)
    truth = PointTruth(target_points[shown], source_points[shown], sampling="rounded")
    return base.Sample(*base.padded((source, target)), truth, base.longer_side(source))


def _fit(image: base.Pixels, points: Points) -> tuple[base.Pixels, Points]:
    """Resize so that the smaller side is 480, then both sides down to a multiple of 16; points move along."""
    height, width = image.shape[:2]
    ratio = min(height, width) / _SMALLER_SIDE
    new_width = round(width / ratio) // _STRIDE * _STRIDE
    new_height = round(height / ratio) // _STRIDE * _STRIDE
    resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8), points * [new_width / width, new_height / height]


def _shown(points: Points, image: base.Pixels) -> npt.NDArray[np.bool_]:
    height, width = image.shape[:2]
    return np.asarray(((points >= 0) & (points < [width, height])).all(axis=1), dtype=bool)
