"""KITTI flow 2012 and 2015 (training split, which has public ground truth)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from glualign.evaluation.datasets import base
from glualign.evaluation.truth import DenseTruth

_IMAGES = {2012: "colored_0", 2015: "image_2"}
_TINY = np.float32(1e-10)


def kitti(root: Path, *, year: Literal[2012, 2015], occluded: bool) -> base.Dataset:
    """Target = frame 10, source = frame 11; with ``occluded``, pixels that leave view count (flow_occ)."""
    how = (
        f"download the KITTI flow {year} training set (https://www.cvlibs.net/datasets/kitti/eval_flow.php); "
        f"ROOT or ROOT/training holds {_IMAGES[year]}/ and flow_occ/ or flow_noc/"
    )
    base_folder = root / "training" if (root / "training").is_dir() else root
    truths = base.require_folder(base_folder, ["flow_occ" if occluded else "flow_noc"], how)
    images = base.require_folder(base_folder, [_IMAGES[year]], how)
    name = f"kitti-{year}" if occluded else f"kitti-{year}-noc"
    title = f"KITTI {year} training, {'all' if occluded else 'non-occluded'} pixels"
    return base.Dataset(name, title, base.require_pairs(_pairs(truths, images), truths, how))


def _pairs(truths: Path, images: Path) -> Iterator[base.EvalPair]:
    for path in sorted(truths.glob("*_10.png")):
        frame = path.stem.removesuffix("_10")
        yield base.EvalPair(frame, partial(_load, path, images, frame))


def _load(truth_path: Path, images: Path, frame: str) -> base.Sample:
    target = base.load_rgb(images / f"{frame}_10.png")
    source = base.load_rgb(images / f"{frame}_11.png")
    truth = base.load_flow(truth_path, target.shape[:2])
    # The published reader turns exact zeros into 1e-10, which makes any error there exceed 5 % for Fl.
    flow = np.where(np.abs(truth.flow) < _TINY, _TINY, truth.flow)
    return base.Sample(source, target, DenseTruth(flow, truth.mask), base.longer_side(source))
