"""MegaDepth (or RobotCar): pairs of a csv with sparse correspondences, in the protocol of RANSAC-Flow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from glualign.errors import DatasetError
from glualign.evaluation.datasets import base
from glualign.evaluation.truth import Points, PointTruth

HOW = (
    "download the MegaDepth test images and test1600Pairs.csv of RANSAC-Flow "
    "(https://github.com/XiSHEN0220/RANSAC-Flow); put the csv into ROOT or name it with --list"
)
_COLUMNS = ("scene", "source_image", "target_image", "XA", "YA", "XB", "YB")
_SMALLER_SIDE = 480
_STRIDE = 16


def megadepth(root: Path, *, pair_list: Path | None = None) -> base.Dataset:
    """Points A lie in the source, points B in the target; PCK is pooled over all points of the data set."""
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; {HOW}")
    path = pair_list or root / "test1600Pairs.csv"
    if not path.is_file():
        raise DatasetError(f"{path}: list of pairs not found; {HOW}")
    pairs = base.require_pairs(_pairs(root, path), path, HOW)
    return base.Dataset("megadepth", "MegaDepth", pairs, pooled_pck=True)


def _pairs(root: Path, path: Path) -> Iterator[base.EvalPair]:
    for index, (line, row) in enumerate(base.read_rows(path, _COLUMNS)):
        yield base.EvalPair(f"{index:04d}", partial(_load, root, row, f"{path}, line {line}"))


def _load(root: Path, row: Mapping[str, str], where: str) -> base.Sample:
    source_points, target_points = base.point_columns(row, "A", where), base.point_columns(row, "B", where)
    if len(source_points) != len(target_points):
        raise DatasetError(
            f"{where}: {len(source_points)} points in the source but {len(target_points)} in the target"
        )
    folder = root / row["scene"].strip("/")
    source, source_points = _fit(base.load_rgb(folder / row["source_image"]), source_points)
    target, target_points = _fit(base.load_rgb(folder / row["target_image"]), target_points)
    inside = _inside(source_points, source) & _inside(target_points, target)
    padded = base.common_size(source, target)
    return base.Sample(
        source=np.asarray(base.pad_to(source, padded), dtype=np.uint8),
        target=np.asarray(base.pad_to(target, padded), dtype=np.uint8),
        truth=PointTruth(target_points[inside], source_points[inside], sampling="rounded"),
        longer_side=base.longer_side(source),
    )


def _fit(image: base.Pixels, points: Points) -> tuple[base.Pixels, Points]:
    """Resize so that the smaller side is 480, then both sides down to a multiple of 16; points move along."""
    height, width = image.shape[:2]
    ratio = min(height, width) / _SMALLER_SIDE
    new_width = round(width / ratio) // _STRIDE * _STRIDE
    new_height = round(height / ratio) // _STRIDE * _STRIDE
    resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8), points * [new_width / width, new_height / height]


def _inside(points: Points, image: base.Pixels) -> npt.NDArray[np.bool_]:
    height, width = image.shape[:2]
    return np.asarray(((points >= 0) & (points < [width, height])).all(axis=1), dtype=bool)
