"""Optical flow with dense ground truth: KITTI, MPI-Sintel, Middlebury and FlyingChairs.

The target is the first frame, the source the second: their flow leads from the first frame on.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from glualign.errors import DatasetError
from glualign.evaluation.datasets import base
from glualign.evaluation.truth import DenseTruth

_KITTI_IMAGES = {2012: "colored_0", 2015: "image_2"}
_SINTEL = (
    "download MPI-Sintel-complete (http://sintel.is.tue.mpg.de); ROOT or ROOT/training holds clean/, final/, "
    "flow/ and invalid/"
)
_MIDDLEBURY = (
    "download other-color-twoframes and other-gt-flow (https://vision.middlebury.edu/flow/data/); ROOT holds "
    "other-data/ and other-gt-flow/"
)
_CHAIRS = (
    "download FlyingChairs and FlyingChairs_train_val.txt (https://lmb.informatik.uni-freiburg.de); "
    "ROOT holds data/00001_img1.ppm, 00001_img2.ppm, 00001_flow.flo, ..."
)
_CHAIRS_SPLIT = "FlyingChairs_train_val.txt"


def kitti(root: Path, *, year: Literal[2012, 2015], occluded: bool) -> base.Dataset:
    """KITTI training, frames 10 and 11; with ``occluded``, pixels that leave view count (flow_occ)."""
    how = (
        f"download the KITTI flow {year} training set (https://www.cvlibs.net/datasets/kitti/eval_flow.php); "
        f"ROOT or ROOT/training holds {_KITTI_IMAGES[year]}/ and flow_occ/ or flow_noc/"
    )
    folder = _training(root)
    truths = base.require_folder(folder, ["flow_occ" if occluded else "flow_noc"], how)
    images = base.require_folder(folder, [_KITTI_IMAGES[year]], how)

    def load(frame: str) -> base.Sample:
        first, second = images / f"{frame}_10.png", images / f"{frame}_11.png"
        # The published reader turns exact zeros into 1e-10, which makes any error there exceed 5 % for Fl.
        return _sample(truths / f"{frame}_10.png", first, second, least=np.float32(1e-10))

    frames = (path.stem.removesuffix("_10") for path in sorted(truths.glob("*_10.png")))
    pairs = (base.EvalPair(frame, partial(load, frame)) for frame in frames)
    name = f"kitti-{year}" if occluded else f"kitti-{year}-noc"
    title = f"KITTI {year} training, {'all' if occluded else 'non-occluded'} pixels"
    return base.Dataset(name, title, base.require_pairs(pairs, truths, how))


def sintel(root: Path, *, rendering: Literal["clean", "final"]) -> base.Dataset:
    """MPI-Sintel training, frames n and n + 1; pixels marked in ``invalid/`` do not count."""
    folder = _training(root)
    flows = base.require_folder(folder, ["flow"], _SINTEL)
    images = base.require_folder(folder, [rendering], _SINTEL)

    def load(path: Path) -> base.Sample:
        scene, number = path.parent.name, int(path.stem.removeprefix("frame_"))
        frames = (images / scene / f"frame_{n:04d}.png" for n in (number, number + 1))
        invalid = folder / "invalid" / scene / f"frame_{number:04d}.png"
        return _sample(path, *frames, invalid=invalid if (folder / "invalid").is_dir() else None)

    pairs = (
        base.EvalPair(f"{path.parent.name}/{path.stem}", partial(load, path))
        for path in sorted(flows.glob("*/frame_*.flo"))
    )
    return base.Dataset(
        f"sintel-{rendering}",
        f"MPI-Sintel training, {rendering} pass",
        base.require_pairs(pairs, flows, _SINTEL),
    )


def middlebury(root: Path) -> base.Dataset:
    """The eight sequences with public ground truth, frames 10 and 11."""
    flows = base.require_folder(root, ["other-gt-flow"], _MIDDLEBURY)
    images = base.require_folder(root, ["other-data"], _MIDDLEBURY)
    pairs = (
        base.EvalPair(
            folder.name,
            partial(
                _sample,
                folder / "flow10.flo",
                images / folder.name / "frame10.png",
                images / folder.name / "frame11.png",
            ),
        )
        for folder in sorted(path for path in flows.iterdir() if path.is_dir())
    )
    found = base.require_pairs(pairs, flows, _MIDDLEBURY)
    return base.Dataset("middlebury", "Middlebury optical flow", found)


def chairs(root: Path, *, pair_list: Path | None = None) -> base.Dataset:
    """FlyingChairs: ``pair_list`` has one line per pair, 2 for validation; without one, all pairs are used.

    It is FlyingChairs_train_val.txt in ROOT or ROOT/data unless given.
    """
    data = base.require_folder(root, ["data", "."], _CHAIRS)
    beside = (folder / _CHAIRS_SPLIT for folder in (root, data))
    split = pair_list or next((path for path in beside if path.is_file()), None)
    stems = sorted(path.name.removesuffix("_flow.flo") for path in data.glob("*_flow.flo"))
    title = "FlyingChairs, all pairs"
    if split:
        title, stems = "FlyingChairs, validation split", list(_validation(split, stems))
    pairs = (
        base.EvalPair(
            stem, partial(_sample, *(data / f"{stem}_{end}" for end in ("flow.flo", "img1.ppm", "img2.ppm")))
        )
        for stem in stems
    )
    return base.Dataset("chairs", title, base.require_pairs(pairs, data, _CHAIRS))


def _validation(split: Path, stems: list[str]) -> Iterator[str]:
    base.require_file(split, "list of pairs")
    labels = split.read_text(encoding="utf-8", errors="replace").split()
    if len(labels) != len(stems):
        raise DatasetError(
            f"{split}: lists {len(labels)} pairs, the folder holds {len(stems)}; use the matching list"
        )
    return (stem for stem, label in zip(stems, labels, strict=True) if label == "2")


def _training(root: Path) -> Path:
    return root / "training" if (root / "training").is_dir() else root


def _sample(
    flow: Path,
    target: Path,
    source: Path,
    *,
    invalid: Path | None = None,
    least: np.float32 | None = None,
) -> base.Sample:
    """A pair and its flow, without the pixels marked in ``invalid``; components below ``least`` become it."""
    images = base.load_rgb(source), base.load_rgb(target)
    size = images[1].shape[0], images[1].shape[1]
    truth = base.load_flow(flow, size)
    if invalid:
        truth = DenseTruth(truth.flow, truth.mask & (base.load_mask(invalid, size) == 0))
    if least is not None:
        truth = DenseTruth(np.where(np.abs(truth.flow) < least, least, truth.flow), truth.mask)
    return base.Sample(*images, truth, base.longer_side(images[0]))
