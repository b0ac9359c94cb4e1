"""TSS: objects of one class in different photographs, some of them mirrored."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from glualign.errors import DatasetError
from glualign.evaluation.datasets import base
from glualign.evaluation.truth import DenseTruth

HOW = (
    "download TSS_CVPR2016 (https://taniai.space/projects/cvpr16_dccs/); ROOT holds FG3DCar/, JODS/ and "
    "PASCAL/, each with folders of image1.png, image2.png, flow1.flo, flow2.flo, mask1.png, mask2.png"
)
_GROUPS = ("FG3DCar", "JODS", "PASCAL")
_INSIDE = 255


def tss(root: Path) -> base.Dataset:
    """Each pair in both directions: flow2 has target image 2, flow1 image 1; only the object's pixels count.

    The true flow of a mirrored pair is mirrored as well, so methods may try the mirrored target
    (`Sample.may_be_mirrored`), as for the published numbers.
    """
    base.require_folder(root, _GROUPS, HOW)
    return base.Dataset("tss", "TSS", base.require_pairs(_pairs(root), root, HOW))


def _pairs(root: Path) -> Iterator[base.EvalPair]:
    for group in _GROUPS:
        if not (root / group).is_dir():
            yield base.EvalPair(
                group, base.broken(DatasetError(f"{root / group}: folder not found; {HOW}")), group
            )
            continue
        for folder in sorted(path for path in (root / group).iterdir() if path.is_dir()):
            for target in (2, 1):
                name = f"{group}/{folder.name}/{3 - target}-{target}"
                yield base.EvalPair(name, partial(_load, folder, target), group)


def _load(folder: Path, target_number: int) -> base.Sample:
    target = base.load_rgb(folder / f"image{target_number}.png")
    source = base.load_rgb(folder / f"image{3 - target_number}.png")
    size = target.shape[0], target.shape[1]
    truth = base.load_flow(folder / f"flow{target_number}.flo", size)
    mask = (base.load_mask(folder / f"mask{target_number}.png", size) == _INSIDE) & truth.mask
    # The protocol pads both images to a common size; L stays that of the source before padding.
    images = base.padded((source, target))
    edge = [(0, images[1].shape[axis] - target.shape[axis]) for axis in (0, 1)]
    padded = DenseTruth(np.pad(truth.flow, [*edge, (0, 0)], mode="edge"), np.pad(mask, edge))
    return base.Sample(*images, padded, base.longer_side(source), may_be_mirrored=True)
