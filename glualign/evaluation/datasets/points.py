"""Corresponding points as ground truth: PF-WILLOW, PF-PASCAL, SPair-71k, MegaDepth (or RobotCar), ETH3D."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from glualign.arrays import Doubles, Points
from glualign.errors import DatasetError
from glualign.evaluation.datasets import base
from glualign.evaluation.metrics import PointTruth, scattered
from glualign.files import read_bytes
from glualign.geometry import size_of

# What alpha is multiplied with in PCK: the longer side of the source image, or of the object's box in it.
Side = Literal["image", "box"]
_POINTS = ("XA", "YA", "XB", "YB")  # of the source, of the target

_SMALLER_SIDE, _STRIDE = 480, 16  # of MegaDepth in the protocol of RANSAC-Flow: sides are multiples of 16

_ETH3D_SCENES = (
    "lakeside", "sand_box", "storage_room", "storage_room_2", "tunnel",
    "delivery_area", "electro", "forest", "playground", "terrains",
)  # fmt: skip
_ETH3D_RATES = (3, 5, 7, 9, 11, 13, 15)

# The lists are pickles. Only what rebuilds a numpy array may be named in them; everything else is refused.
_ALLOWED = {"numpy.ndarray", "numpy.dtype"} | {
    f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")
}


def _proposal_flow(
    root: Path, file: str, columns: Sequence[str], *, side: Side, pair_list: Path | None = None
) -> Iterator[base.EvalPair]:
    """PF-WILLOW and PF-PASCAL: csv rows that begin with two image paths, the source's and the target's."""
    for row in base.read_rows(pair_list or root / file, columns):
        images = row[columns[0]], row[columns[1]]
        group = f"class {row['class']}" if "class" in columns else Path(images[0]).parent.name
        load = partial(_load_proposal_flow, root, images, row, side)
        yield base.EvalPair(" ".join(Path(image).stem for image in images), load, group)


pf_willow = partial(_proposal_flow, file="test_pairs_pf.csv", columns=("imageA", "imageB"))
pf_pascal = partial(
    _proposal_flow,
    file="test_pairs_pf_pascal.csv",
    columns=("source_image", "target_image", "class", *_POINTS),
)


def _load_proposal_flow(root: Path, images: tuple[str, str], row: base.Row, side: Side) -> base.Sample:
    if "XA" in row:
        points = base.numbers(row, _POINTS)
    else:  # 10 x and 10 y of the first image, then of the second, in columns of any names
        points = base.numbers(row, [name for name in row if name not in ("imageA", "imageB", base.WHERE)])
        if points.size != 40:
            found = f"{points.size} coordinates, expected 40 (10 points in two images)"
            raise DatasetError(f"{row[base.WHERE]}: {found}")
        points = points.reshape(4, 10).T
    # The list names an image from ROOT or from the folder that holds ROOT.
    source, target = ((root / image, root / image.partition("/")[2]) for image in images)
    return _objects(source, target, points, side)


def spair(root: Path, *, side: Side, pair_list: Path | None = None) -> Iterator[base.EvalPair]:
    """SPair-71k: the pairs of Layout/large/test.txt with their annotations in PairAnnotation/test."""
    base.require_folder(root, "PairAnnotation")
    path = pair_list or root / "Layout" / "large" / "test.txt"
    for name in base.read_text(path).split():
        load = partial(_load_spair, root, name, path.stem, side)
        yield base.EvalPair(name, load, name.rpartition(":")[2])


def _load_spair(root: Path, name: str, split: str, side: Side) -> base.Sample:
    path = root / "PairAnnotation" / split / f"{name}.json"
    # A colon separates the category; copies of the data set on some file systems have an underscore instead.
    renamed = path.with_name(path.name.replace(":", "_"))
    text = base.read_text(renamed if renamed.is_file() else path)
    try:
        entry: dict[str, Any] = json.loads(text)
        images = root / "JPEGImages" / entry["category"]
        sides = [np.array(entry[key], dtype=np.float64).reshape(-1, 2) for key in ("src_kps", "trg_kps")]
        points = np.concatenate(sides, axis=1)
        left, top, right, bottom = (float(value) for value in entry["src_bndbox"])
        paths = images / entry["src_imname"], images / entry["trg_imname"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not a SPair annotation ({type(error).__name__}: {error})") from error
    return _objects([paths[0]], [paths[1]], points, side, box=max(right - left, bottom - top))


def _objects(
    source: Sequence[Path], target: Sequence[Path], points: Doubles, side: Side, box: float | None = None
) -> base.Sample:
    """Points (N, 4), x and y in the source and in the target, whose images lie in the first of these places.

    ``box`` is the longer side of the object's box in the source; None: of the box around its points.
    """
    images = base.load_rgb(*source), base.load_rgb(*target)
    if box is None:
        box = float(np.ptp(points[:, :2], axis=0).max())
    truth = scattered(points[:, 2:], points[:, :2], size_of(images[1]))
    return base.Sample(*images, truth, box if side == "box" else None)


def megadepth(root: Path, *, pair_list: Path | None = None) -> Iterator[base.EvalPair]:
    """MegaDepth: points A lie in the source, points B in the target; their motion is read at the pixel."""
    columns = ("scene", "source_image", "target_image", *_POINTS)
    for index, row in enumerate(base.read_rows(pair_list or root / "test1600Pairs.csv", columns)):
        yield base.EvalPair(f"{index:04d}", partial(_load_megadepth, root, row))


def _load_megadepth(root: Path, row: base.Row) -> base.Sample:
    points = base.numbers(row, _POINTS)
    folder = root / row["scene"].strip("/")
    source, source_points = _fit(base.load_rgb(folder / row["source_image"]), points[:, :2])
    target, target_points = _fit(base.load_rgb(folder / row["target_image"]), points[:, 2:])
    shown = np.ones(len(points), dtype=bool)
    for found, image in ((source_points, source), (target_points, target)):
        shown &= ((found >= 0) & (found < image.shape[1::-1])).all(axis=1)
    truth = PointTruth(target_points[shown], source_points[shown], sampling="rounded")
    return base.Sample(*base.padded((source, target)), truth, max(source.shape))


def _fit(image: base.Pixels, points: Points) -> tuple[base.Pixels, Points]:
    """The image resized to the size of the protocol, its points moved along."""
    before = image.shape[1::-1]
    ratio = min(before) / _SMALLER_SIDE
    width, height = (round(side / ratio) // _STRIDE * _STRIDE for side in before)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    return np.asarray(resized, dtype=np.uint8), points * [width / before[0], height / before[1]]


def eth3d(root: Path) -> Iterator[base.EvalPair]:
    """ETH3D: groups are the rates, frames 3 to 15 apart; inside a rate scenes are averaged first."""
    lists = base.require_folder(root, "info_ETH3D_files", ".")
    kinds = product(_ETH3D_RATES, _ETH3D_SCENES)
    paths = {(rate, scene): lists / f"{scene}_every_5_rate_of_{rate}" for rate, scene in kinds}
    if not any(path.is_file() for path in paths.values()):
        raise DatasetError(f"{lists}: holds no list such as {next(iter(paths.values())).name}")
    for (rate, scene), path in paths.items():
        try:
            names = [f"rate {rate}/{scene}/{index:04d}" for index in range(len(read_list(path)))]
        except DatasetError:  # which is said when the turn of its pair comes
            names = [path.name]
        for index, name in enumerate(names):
            yield base.EvalPair(name, partial(_load_eth3d, root, path, index), f"rate {rate}", scene)


class _ListUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, text, numbers and numpy arrays, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module}.{name}" not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a list of pairs")
        return super().find_class(module, name)


@lru_cache(maxsize=1)
def read_list(path: Path) -> list[Mapping[str, Any]]:
    """The entries of one list of ETH3D; a `DatasetError` if the file holds anything but dictionaries."""
    data = read_bytes(path, base.MOST_BYTES, error=DatasetError)
    try:
        entries = _ListUnpickler(io.BytesIO(data), encoding="latin1").load()  # written by Python 2 in part
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DatasetError(f"{path}: not a list of pairs ({error})") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DatasetError(f"{path}: not a list of pairs")
    return entries


def _load_eth3d(root: Path, path: Path, index: int) -> base.Sample:
    entry, where = read_list(path)[index], f"{path}, entry {index}"
    try:
        columns = [np.asarray(entry[key], dtype=np.float64).reshape(-1) for key in ("Xs", "Ys", "Xt", "Yt")]
        points = np.stack(columns, axis=1)
        names = str(entry["source_image"]), str(entry["target_image"])
    except KeyError as error:
        raise DatasetError(f"{where}: lacks {error.args[0]}") from error
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where}: unusable points ({error})") from error
    folders = (root, root / "multiview_training", root / "multiview_testing")
    source, target = ([folder / name for folder in folders] for name in names)
    return _objects(source, target, points, "image")
