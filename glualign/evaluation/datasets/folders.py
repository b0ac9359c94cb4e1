"""Data sets read from their folders: plain pairs, HPatches, optical flow (KITTI, Sintel, ...) and TSS.

In optical flow the target is the first frame, the source the second: their flow leads from the first on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from glualign.errors import DatasetError
from glualign.evaluation.datasets import base
from glualign.evaluation.metrics import DenseTruth, PointTruth, Truth, homography_truth
from glualign.geometry import inverse, size_of

_FLOW, _MATRIX, _POINTS = "flow.flo", "H_target_to_source.txt", "points_target_source.txt"
_HP_GROUPS = {"2": "I", "3": "II", "4": "III", "5": "IV", "6": "V"}
_HP_NUMBERS = ("Him", "Wim", *(f"H{row}{column}" for row in "123" for column in "123"))
_TSS_GROUPS = ("FG3DCar", "JODS", "PASCAL")


def pairs(root: Path, *, points_first: bool = False) -> Iterator[base.EvalPair]:
    """Every pair folder below ``root``, one group per set.

    Ground truth is the first of: ``flow.flo`` (target to source, unknown pixels 1e10),
    ``H_target_to_source.txt`` (3x3; the pixels that land inside the source count),
    ``points_target_source.txt`` (rows x_t y_t x_s y_s); with ``points_first`` these come first.
    """
    truths = (_POINTS, _FLOW, _MATRIX) if points_first else (_FLOW, _MATRIX, _POINTS)
    for folder in sorted(path for pattern in ("*", "*/*") for path in root.glob(pattern) if path.is_dir()):
        if any(path.stem in ("source", "target") or path.name in truths for path in folder.iterdir()):
            group = "" if folder.parent == root else folder.parent.name
            name = folder.relative_to(root).as_posix()
            yield base.EvalPair(name, partial(_load_pair, folder, truths), group)


def _load_pair(folder: Path, truths: Sequence[str]) -> base.Sample:
    source, target = (base.load_rgb(_image(folder, stem)) for stem in ("source", "target"))
    path = next((folder / name for name in truths if (folder / name).is_file()), None)
    truth: Truth
    if path is None:
        raise DatasetError(f"{folder}: no ground truth; it needs {_FLOW}, {_MATRIX} or {_POINTS}")
    if path.name == _FLOW:
        truth = base.load_flow(path, size_of(target))
    elif path.name == _MATRIX:
        truth = homography_truth(base.load_homography(path), size_of(target), size_of(source))
    else:
        table = base.load_table(path, 4)
        truth = PointTruth(table[:, :2], table[:, 2:])
    return base.Sample(source, target, truth)


def _image(folder: Path, stem: str) -> Path:
    found = sorted(path for path in folder.glob(f"{stem}.*") if path.is_file())
    if not found:
        raise DatasetError(f"{folder}: no {stem} image ({stem}.png, {stem}.jpg, ...)")
    if len(found) > 1:
        raise DatasetError(f"{folder}: {' and '.join(path.name for path in found)}; keep one {stem} image")
    return found[0]


def hpatches(root: Path, *, square: int | None, pair_list: Path | None = None) -> Iterator[base.EvalPair]:
    """The viewpoint sequences: source = image 1, target = image k, k = 2 ... 6 (groups I ... V).

    Both images are resized to ``square`` pixels in each direction, or to the target's own size. ``pair_list``
    is a csv with columns obj, im1, im2, Him, Wim, H11 ... H33 (size of image 1, matrix image 1 -> 2) to use
    instead of the folders and their H_1_k files.
    """
    scenes = [path.name for path in sorted(root.glob("v_*")) if path.is_dir()]
    chosen: list[tuple[str, str, str, base.Row | None]]
    chosen = [(scene, "1", k, None) for k in _HP_GROUPS for scene in scenes]
    if pair_list:
        rows = base.read_rows(pair_list, ("obj", "im1", "im2", *_HP_NUMBERS))
        chosen = [(row["obj"], row["im1"], row["im2"], row) for row in rows]
    for scene, one, k, row in chosen:
        load = partial(_load_hpatches, root / scene, (one, k), square, row)
        yield base.EvalPair(f"{scene}/{one}-{k}", load, _HP_GROUPS.get(k, k))


def _load_hpatches(
    scene: Path, stems: tuple[str, str], square: int | None, row: base.Row | None
) -> base.Sample:
    """Both images at the size of the evaluation; source size and matrix are those of the list's ``row``."""
    # The release has .ppm; lossless copies are accepted because many people keep them so.
    source, target = (base.load_rgb(*(scene / f"{stem}.{end}" for end in ("ppm", "png"))) for stem in stems)
    source_height, source_width = map(float, size_of(source))
    if row is None:
        matrix = base.load_homography(scene / f"H_{'_'.join(stems)}")
    else:
        ((source_height, source_width, *values),) = base.numbers(row, _HP_NUMBERS)
        matrix = base.invertible(np.reshape(values, (3, 3)), f"{row[base.WHERE]}: H11 ... H33")
    height, width = size = (square, square) if square else size_of(target)
    to_source = np.diag([width / source_width, height / source_height, 1.0])
    to_target = np.diag([width / target.shape[1], height / target.shape[0], 1.0])
    to_moving = inverse(to_target @ matrix @ inverse(to_source))
    truth = homography_truth(to_moving, size, size)
    source, target = (
        np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
        for image in (source, target)
    )
    return base.Sample(source, target, truth)


def kitti(root: Path, *, images: str, truth: str) -> Iterator[base.EvalPair]:
    """KITTI training, frames 10 and 11; in flow_occ the pixels that leave the view count, in flow_noc not."""
    folder = base.require_folder(root, "training", ".")
    truths, frames = base.require_folder(folder, truth), base.require_folder(folder, images)
    for path in sorted(truths.glob("*_10.png")):
        name = path.stem.removesuffix("_10")
        # The published reader turns exact zeros into 1e-10, which makes any error there exceed 5 % for Fl.
        load = partial(_load_flow, path, frames / f"{name}_10.png", frames / f"{name}_11.png", least=1e-10)
        yield base.EvalPair(name, load)


def sintel(root: Path, *, rendering: Literal["clean", "final"]) -> Iterator[base.EvalPair]:
    """MPI-Sintel training, frames n and n + 1; pixels marked in ``invalid/`` do not count."""
    folder = base.require_folder(root, "training", ".")
    flows, images = base.require_folder(folder, "flow"), base.require_folder(folder, rendering)
    for path in sorted(flows.glob("*/frame_*.flo")):
        scene, number = path.parent.name, int(path.stem.removeprefix("frame_"))
        frames = (images / scene / f"frame_{n:04d}.png" for n in (number, number + 1))
        invalid = folder / "invalid" / scene / f"frame_{number:04d}.png"
        load = partial(_load_flow, path, *frames, invalid=invalid if (folder / "invalid").is_dir() else None)
        yield base.EvalPair(f"{scene}/{path.stem}", load)


def middlebury(root: Path) -> Iterator[base.EvalPair]:
    """The eight sequences with public ground truth, frames 10 and 11."""
    flows, images = base.require_folder(root, "other-gt-flow"), base.require_folder(root, "other-data")
    for folder in sorted(path for path in flows.iterdir() if path.is_dir()):
        frames = (images / folder.name / f"frame{n}.png" for n in (10, 11))
        yield base.EvalPair(folder.name, partial(_load_flow, folder / "flow10.flo", *frames))


def chairs(root: Path, *, pair_list: Path | None = None) -> Iterator[base.EvalPair]:
    """FlyingChairs: ``pair_list`` has one line per pair, 2 for validation; without one, all pairs are used.

    It is FlyingChairs_train_val.txt in ROOT or ROOT/data unless given.
    """
    data = base.require_folder(root, "data", ".")
    beside = (folder / "FlyingChairs_train_val.txt" for folder in (root, data))
    split = pair_list or next((path for path in beside if path.is_file()), None)
    stems = sorted(path.name.removesuffix("_flow.flo") for path in data.glob("*_flow.flo"))
    labels = base.read_text(split).split() if split else ["2"] * len(stems)
    if len(labels) != len(stems):
        raise DatasetError(
            f"{split}: lists {len(labels)} pairs, the folder holds {len(stems)}; use the matching list"
        )
    for stem in (stem for stem, label in zip(stems, labels, strict=True) if label == "2"):
        files = (data / f"{stem}_{end}" for end in ("flow.flo", "img1.ppm", "img2.ppm"))
        yield base.EvalPair(stem, partial(_load_flow, *files))


def _load_flow(
    flow: Path, target: Path, source: Path, *, invalid: Path | None = None, least: float = 0.0
) -> base.Sample:
    """A pair and its flow, without the pixels marked in ``invalid``; components below ``least`` become it."""
    images = base.load_rgb(source), base.load_rgb(target)
    size = size_of(images[1])
    truth = base.load_flow(flow, size)
    mask = truth.mask & (base.load_mask(invalid, size) == 0) if invalid else truth.mask
    field = np.where(np.abs(truth.flow) < least, np.float32(least), truth.flow)
    return base.Sample(*images, DenseTruth(field, mask))


def tss(root: Path) -> Iterator[base.EvalPair]:
    """TSS, objects of one class: each pair in both directions; flow2 has target image 2, flow1 image 1.

    Only the object's pixels count. The true flow of a mirrored pair is mirrored as well, so methods may try
    the mirrored target (`Sample.may_be_mirrored`), as for the published numbers.
    """
    base.require_folder(root, *_TSS_GROUPS)
    for group in _TSS_GROUPS:
        if not (root / group).is_dir():
            yield base.EvalPair(group, partial(_load_tss, root / group, 2), group)
        for folder in sorted(path for path in (root / group).glob("*") if path.is_dir()):
            for target in (2, 1):
                name = f"{group}/{folder.name}/{3 - target}-{target}"
                yield base.EvalPair(name, partial(_load_tss, folder, target), group)


def _load_tss(folder: Path, number: int) -> base.Sample:
    if not folder.is_dir():
        raise DatasetError(f"{folder}: folder not found")
    source, target = (base.load_rgb(folder / f"image{n}.png") for n in (3 - number, number))
    truth = base.load_flow(folder / f"flow{number}.flo", size_of(target))
    mask = (base.load_mask(folder / f"mask{number}.png", size_of(target)) == 255) & truth.mask
    # The protocol pads both images to a common size; L stays that of the source before padding.
    images = base.padded((source, target))
    edge = [(0, images[1].shape[axis] - target.shape[axis]) for axis in (0, 1)]
    padded = DenseTruth(np.pad(truth.flow, [*edge, (0, 0)], mode="edge"), np.pad(mask, edge))
    return base.Sample(*images, padded, max(source.shape), may_be_mirrored=True)
