"""Dense ground truth: KITTI, MPI-Sintel, Middlebury and FlyingChairs (optical flow), and TSS (objects).

In optical flow the target is the first frame, the source the second: their flow leads from the first on.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from glualign.errors import DatasetError
from glualign.evaluation.datasets import base
from glualign.evaluation.metrics import DenseTruth, size_of

_TSS_GROUPS = ("FG3DCar", "JODS", "PASCAL")


def kitti(root: Path, *, images: str, truth: str) -> Iterator[base.EvalPair]:
    """KITTI training, frames 10 and 11; in flow_occ the pixels that leave the view count, in flow_noc not."""
    folder = base.require_folder(root, "training", ".")
    truths, frames = base.require_folder(folder, truth), base.require_folder(folder, images)
    for path in sorted(truths.glob("*_10.png")):
        name = path.stem.removesuffix("_10")
        # The published reader turns exact zeros into 1e-10, which makes any error there exceed 5 % for Fl.
        load = partial(_load, path, frames / f"{name}_10.png", frames / f"{name}_11.png", least=1e-10)
        yield base.EvalPair(name, load)


def sintel(root: Path, *, rendering: Literal["clean", "final"]) -> Iterator[base.EvalPair]:
    """MPI-Sintel training, frames n and n + 1; pixels marked in ``invalid/`` do not count."""
    folder = base.require_folder(root, "training", ".")
    flows, images = base.require_folder(folder, "flow"), base.require_folder(folder, rendering)
    for path in sorted(flows.glob("*/frame_*.flo")):
        scene, number = path.parent.name, int(path.stem.removeprefix("frame_"))
        frames = (images / scene / f"frame_{n:04d}.png" for n in (number, number + 1))
        invalid = folder / "invalid" / scene / f"frame_{number:04d}.png"
        load = partial(_load, path, *frames, invalid=invalid if (folder / "invalid").is_dir() else None)
        yield base.EvalPair(f"{scene}/{path.stem}", load)


def middlebury(root: Path) -> Iterator[base.EvalPair]:
    """The eight sequences with public ground truth, frames 10 and 11."""
    flows, images = base.require_folder(root, "other-gt-flow"), base.require_folder(root, "other-data")
    for folder in sorted(path for path in flows.iterdir() if path.is_dir()):
        frames = (images / folder.name / f"frame{n}.png" for n in (10, 11))
        yield base.EvalPair(folder.name, partial(_load, folder / "flow10.flo", *frames))


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
        yield base.EvalPair(stem, partial(_load, *files))


def tss(root: Path) -> Iterator[base.EvalPair]:
    """TSS, objects of one class: each pair in both directions; flow2 has target image 2, flow1 image 1.

    Only the object's pixels count. The true flow of a mirrored pair is mirrored as well, so methods may try
    the mirrored target (`Sample.may_be_mirrored`), as for the published numbers.
    """
    base.require_folder(root, *_TSS_GROUPS)
    for group in _TSS_GROUPS:
        if not (root / group).is_dir():
            error = DatasetError(f"{root / group}: folder not found")
            yield base.EvalPair(group, partial(base.broken, error), group)
            continue
        for folder in sorted(path for path in (root / group).iterdir() if path.is_dir()):
            for target in (2, 1):
                name = f"{group}/{folder.name}/{3 - target}-{target}"
                yield base.EvalPair(name, partial(_load_tss, folder, target), group)


def _load(
    flow: Path, target: Path, source: Path, *, invalid: Path | None = None, least: float = 0.0
) -> base.Sample:
    """A pair and its flow, without the pixels marked in ``invalid``; components below ``least`` become it."""
    images = base.load_rgb(source), base.load_rgb(target)
    size = size_of(images[1])
    truth = base.load_flow(flow, size)
    mask = truth.mask & (base.load_mask(invalid, size) == 0) if invalid else truth.mask
    field = np.where(np.abs(truth.flow) < least, np.float32(least), truth.flow)
    return base.Sample(*images, DenseTruth(field, mask))


def _load_tss(folder: Path, number: int) -> base.Sample:
    source, target = (base.load_rgb(folder / f"image{n}.png") for n in (3 - number, number))
    truth = base.load_flow(folder / f"flow{number}.flo", size_of(target))
    mask = (base.load_mask(folder / f"mask{number}.png", size_of(target)) == 255) & truth.mask
    # The protocol pads both images to a common size; L stays that of the source before padding.
    images = base.padded((source, target))
    edge = [(0, images[1].shape[axis] - target.shape[axis]) for axis in (0, 1)]
    padded = DenseTruth(np.pad(truth.flow, [*edge, (0, 0)], mode="edge"), np.pad(mask, edge))
    return base.Sample(*images, padded, max(source.shape), may_be_mirrored=True)
