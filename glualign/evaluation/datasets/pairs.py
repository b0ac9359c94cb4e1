"""Plain folders of pairs with a file of ground truth, and HPatches: planar scenes from six viewpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from glualign.errors import DatasetError
from glualign.evaluation.datasets import base
from glualign.evaluation.metrics import PointTruth, Truth, homography_truth, size_of
from glualign.geometry import Matrix, Size

_TRUTHS = (_FLOW, _MATRIX, _POINTS) = ("flow.flo", "H_target_to_source.txt", "points_target_source.txt")
_HP_GROUPS = {2: "I", 3: "II", 4: "III", 5: "IV", 6: "V"}
_HP_NUMBERS = ("Him", "Wim", *(f"H{row}{column}" for row in "123" for column in "123"))


def pairs(root: Path) -> Iterator[base.EvalPair]:
    """Every pair folder below ``root``, one group per set.

    Ground truth is the first of: ``flow.flo`` (target to source, unknown pixels 1e10),
    ``H_target_to_source.txt`` (3x3; the pixels that land inside the source count),
    ``points_target_source.txt`` (rows x_t y_t x_s y_s).
    """
    for folder in sorted(path for pattern in ("*", "*/*") for path in root.glob(pattern) if path.is_dir()):
        if any(path.stem in ("source", "target") or path.name in _TRUTHS for path in folder.iterdir()):
            group = "" if folder.parent == root else folder.parent.name
            yield base.EvalPair(folder.relative_to(root).as_posix(), partial(_load, folder), group)


def _load(folder: Path) -> base.Sample:
    source, target = (base.load_rgb(_image(folder, stem)) for stem in ("source", "target"))
    return base.Sample(source, target, _truth(folder, size_of(target), size_of(source)))


def _truth(folder: Path, target_size: Size, source_size: Size) -> Truth:
    if (folder / _FLOW).is_file():
        return base.load_flow(folder / _FLOW, target_size)
    if (folder / _MATRIX).is_file():
        return homography_truth(base.load_homography(folder / _MATRIX), target_size, source_size)
    if (folder / _POINTS).is_file():
        table = base.load_table(folder / _POINTS, 4)
        return PointTruth(table[:, :2], table[:, 2:])
    raise DatasetError(f"{folder}: no ground truth; it needs {_FLOW}, {_MATRIX} or {_POINTS}")


def _image(folder: Path, stem: str) -> Path:
    found = sorted(path for path in folder.glob(f"{stem}.*") if path.is_file())
    if not found:
        raise DatasetError(f"{folder}: no {stem} image ({stem}.png, {stem}.jpg, ...)")
    if len(found) > 1:
        raise DatasetError(f"{folder}: {' and '.join(path.name for path in found)}; keep one {stem} image")
    return found[0]


def hpatches(root: Path, *, square: int | None, pair_list: Path | None = None) -> Iterator[base.EvalPair]:
    """The viewpoint sequences: source = image 1, target = image k, k = 2 ... 6 (groups I ... V).

    Args:
        root: folder of the sequences.
        square: resize both images to this many pixels in each direction; None: both to the target's own size.
        pair_list: csv with columns obj, im1, im2, Him, Wim, H11 ... H33 (size of image 1, matrix image 1 ->
            2) to use instead of the folders and their H_1_k files.
    """
    if pair_list:
        for where, row in base.read_rows(pair_list, ("obj", "im1", "im2", *_HP_NUMBERS)):
            k = int(row["im2"]) if row["im2"].isdigit() else 0
            load = partial(_hp_from_row, root / row["obj"], row, where, square)
            name = f"{row['obj']}/{row['im1']}-{row['im2']}"
            yield base.EvalPair(name, load, _HP_GROUPS.get(k, row["im2"]))
        return
    scenes = sorted(path for path in root.glob("v_*") if path.is_dir())
    for k, group in _HP_GROUPS.items():
        for scene in scenes:
            yield base.EvalPair(f"{scene.name}/1-{k}", partial(_hp_from_folder, scene, k, square), group)


def _hp_from_folder(scene: Path, k: int, square: int | None) -> base.Sample:
    return _hp_sample(scene, ("1", str(k)), base.load_homography(scene / f"H_1_{k}"), None, square)


def _hp_from_row(scene: Path, row: Mapping[str, str], where: str, square: int | None) -> base.Sample:
    (values,) = base.numbers(row, _HP_NUMBERS, where)
    matrix = base.invertible(values[2:].reshape(3, 3), f"{where}: H11 ... H33")
    return _hp_sample(scene, (row["im1"], row["im2"]), matrix, (values[0], values[1]), square)


def _hp_sample(
    scene: Path, stems: tuple[str, str], matrix: Matrix, size: tuple[float, float] | None, square: int | None
) -> base.Sample:
    """Both images at the size of the evaluation; ``matrix`` maps source (of ``size``) to target pixels."""
    # The release has .ppm; lossless copies are accepted because many people keep them so.
    source, target = (base.load_rgb(*(scene / f"{stem}.{end}" for end in ("ppm", "png"))) for stem in stems)
    height, width = (square, square) if square else target.shape[:2]
    source_height, source_width = size or source.shape[:2]
    to_source = np.diag([width / source_width, height / source_height, 1.0])
    to_target = np.diag([width / target.shape[1], height / target.shape[0], 1.0])
    to_moving = np.asarray(np.linalg.inv(to_target @ matrix @ np.linalg.inv(to_source)), np.float64)
    truth = homography_truth(to_moving, (height, width), (height, width))
    source, target = (
        np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
        for image in (source, target)
    )
    return base.Sample(source, target, truth)
