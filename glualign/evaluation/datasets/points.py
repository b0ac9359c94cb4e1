"""Corresponding points as ground truth: PF-WILLOW, PF-PASCAL, SPair-71k, and MegaDepth (or RobotCar)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from glualign.errors import DatasetError
from glualign.evaluation.datasets import base
from glualign.evaluation.truth import PointTruth, scattered, size_of
from glualign.geometry import Points

# What alpha is multiplied with in PCK: the longer side of the source image, or of the object's box in it.
Side = Literal["image", "box"]

# MegaDepth in the protocol of RANSAC-Flow: the smaller side is 480, then both are multiples of 16.
_SMALLER_SIDE = 480
_STRIDE = 16


def pf_willow(root: Path, *, side: Side, pair_list: Path | None = None) -> Iterator[base.EvalPair]:
    """PF-WILLOW: csv rows of two image paths, 10 x and 10 y of the first (source), then of the second."""
    path = pair_list or root / "test_pairs_pf.csv"
    for where, row in base.read_rows(path, ("imageA", "imageB")):
        name = f"{Path(row['imageA']).stem} {Path(row['imageB']).stem}"
        group = row["imageA"].rpartition("/")[0].rpartition("/")[2]
        yield base.EvalPair(name, partial(_load_willow, root, row, where, side), group)


def pf_pascal(root: Path, *, side: Side, pair_list: Path | None = None) -> Iterator[base.EvalPair]:
    """PF-PASCAL: a csv with source_image, target_image, class, XA, YA (source), XB, YB (``;`` between)."""
    path = pair_list or root / "test_pairs_pf_pascal.csv"
    columns = ("source_image", "target_image", "class", "XA", "YA", "XB", "YB")
    for where, row in base.read_rows(path, columns):
        name = f"{Path(row['source_image']).stem} {Path(row['target_image']).stem}"
        load = partial(_load_pascal, root, row, where, side)
        yield base.EvalPair(name, load, f"class {row['class']}")


def spair(root: Path, *, side: Side, pair_list: Path | None = None) -> Iterator[base.EvalPair]:
    """SPair-71k: the pairs of Layout/large/test.txt with their annotations in PairAnnotation/test."""
    base.require_folder(root, "PairAnnotation")
    path = pair_list or root / "Layout" / "large" / "test.txt"
    base.require_file(path, "list of pairs")
    for name in path.read_text(encoding="utf-8", errors="replace").split():
        load = partial(_load_spair, root, name, path.stem, side)
        yield base.EvalPair(name, load, name.rpartition(":")[2])


def megadepth(root: Path, *, pair_list: Path | None = None) -> Iterator[base.EvalPair]:
    """MegaDepth: points A lie in the source, points B in the target; their motion is read at the pixel."""
    path = pair_list or root / "test1600Pairs.csv"
    columns = ("scene", "source_image", "target_image", "XA", "YA", "XB", "YB")
    for index, (where, row) in enumerate(base.read_rows(path, columns)):
        yield base.EvalPair(f"{index:04d}", partial(_load_megadepth, root, row, where))


def _load_willow(root: Path, row: Mapping[str, str], where: str, side: Side) -> base.Sample:
    cells = [column for column in row if column not in ("imageA", "imageB", "")]
    if len(cells) != 40:
        raise DatasetError(f"{where}: {len(cells)} coordinates, expected 40 (10 points in two images)")
    values = np.array([base.numbers(row, column, where)[0] for column in cells]).reshape(4, 10)
    images = _find(root, row["imageA"]), _find(root, row["imageB"])
    return _objects(*images, values[:2].T, values[2:].T, side)


def _load_pascal(root: Path, row: Mapping[str, str], where: str, side: Side) -> base.Sample:
    images = _find(root, row["source_image"]), _find(root, row["target_image"])
    return _objects(*images, *base.point_columns(row, where), side)


def _load_spair(root: Path, name: str, split: str, side: Side) -> base.Sample:
    # A colon separates the category; copies of the data set on some file systems have an underscore instead.
    folder = root / "PairAnnotation" / split
    path = base.first_file(folder / f"{name}.json", folder / f"{name.replace(':', '_')}.json")
    base.require_file(path, "annotation")
    try:
        entry: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        images = root / "JPEGImages" / entry["category"]
        points = [np.array(entry[key], dtype=np.float64).reshape(-1, 2) for key in ("src_kps", "trg_kps")]
        source, target = np.stack(points)
        left, top, right, bottom = (float(value) for value in entry["src_bndbox"])
        paths = images / entry["src_imname"], images / entry["trg_imname"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not a SPair annotation ({type(error).__name__}: {error})") from error
    return _objects(*paths, source, target, side, box=max(right - left, bottom - top))


def _objects(
    source_path: Path, target_path: Path, source: Points, target: Points, side: Side, box: float | None = None
) -> base.Sample:
    """``box`` is the longer side of the object's box; None: of the box around its points."""
    images = base.load_rgb(source_path), base.load_rgb(target_path)
    if box is None:
        box = float((source.max(axis=0) - source.min(axis=0)).max())
    length = box if side == "box" else base.longer_side(images[0])
    return base.Sample(*images, scattered(target, source, size_of(images[1])), length)


def _find(root: Path, name: str) -> Path:
    """The image, whether the list names it from ROOT or from the folder that holds ROOT."""
    return base.first_file(root / name, root / name.partition("/")[2])


def _load_megadepth(root: Path, row: Mapping[str, str], where: str) -> base.Sample:
    source_points, target_points = base.point_columns(row, where)
    folder = root / row["scene"].strip("/")
    source, source_points = _fit(base.load_rgb(folder / row["source_image"]), source_points)
    target, target_points = _fit(base.load_rgb(folder / row["target_image"]), target_points)
    shown = np.ones(len(source_points), dtype=bool)
    for points, image in ((source_points, source), (target_points, target)):
        shown &= ((points >= 0) & (points < image.shape[1::-1])).all(axis=1)
    truth = PointTruth(target_points[shown], source_points[shown], sampling="rounded")
    return base.Sample(*base.padded((source, target)), truth, base.longer_side(source))


def _fit(image: base.Pixels, points: Points) -> tuple[base.Pixels, Points]:
    """The image resized to the size of the protocol, its points moved along."""
    height, width = image.shape[:2]
    ratio = min(height, width) / _SMALLER_SIDE
    new_width, new_height = (round(side / ratio) // _STRIDE * _STRIDE for side in (width, height))
    resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8), points * [new_width / width, new_height / height]
