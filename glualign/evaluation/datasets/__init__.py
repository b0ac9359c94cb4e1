"""Data sets with ground truth, each read from its official folder layout.

`open_dataset` turns a name of `DATASETS` and a folder into a `Dataset`: a list of pairs that are read one by
one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from pathlib import Path

from glualign.errors import DatasetError
from glualign.evaluation.datasets.base import Dataset, EvalPair, Sample
from glualign.evaluation.datasets.dense import chairs, kitti, middlebury, sintel
from glualign.evaluation.datasets.eth3d import eth3d
from glualign.evaluation.datasets.hpatches import hpatches
from glualign.evaluation.datasets.keypoints import pf_pascal, pf_willow, spair
from glualign.evaluation.datasets.megadepth import megadepth
from glualign.evaluation.datasets.pairs import pairs
from glualign.evaluation.datasets.tss import tss

__all__ = ["DATASETS", "Dataset", "EvalPair", "Sample", "open_dataset"]

DATASETS: Mapping[str, Callable[..., Dataset]] = {
    "pairs": pairs,
    "hpatches-240": partial(hpatches, square=240),
    "hpatches": partial(hpatches, square=None),
    "kitti-2012": partial(kitti, year=2012, occluded=True),
    "kitti-2012-noc": partial(kitti, year=2012, occluded=False),
    "kitti-2015": partial(kitti, year=2015, occluded=True),
    "kitti-2015-noc": partial(kitti, year=2015, occluded=False),
    "sintel-clean": partial(sintel, rendering="clean"),
    "sintel-final": partial(sintel, rendering="final"),
    "middlebury": middlebury,
    "chairs": chairs,
    "tss": tss,
    "pf-willow": partial(pf_willow, side="image"),
    "pf-willow-box": partial(pf_willow, side="box"),
    "pf-pascal": partial(pf_pascal, side="image"),
    "pf-pascal-box": partial(pf_pascal, side="box"),
    "spair": partial(spair, side="image"),
    "spair-box": partial(spair, side="box"),
    "eth3d": eth3d,
    "megadepth": megadepth,
}


def open_dataset(
    name: str, root: str | os.PathLike[str], *, pair_list: str | os.PathLike[str] | None = None
) -> Dataset:
    """Open the data set ``name`` in the folder ``root``; its images are read later, pair by pair.

    ``pair_list`` names a list of pairs elsewhere than in its official place, for the sets that have one.

    Raises:
        DatasetError: the name is unknown, or the folder lacks what the layout needs; the message says how to
            get it.
    """
    if name not in DATASETS:
        raise DatasetError(f"{name}: unknown data set; known are {', '.join(DATASETS)}")
    opener = DATASETS[name]
    if pair_list is None:
        return opener(Path(root))
    if "pair_list" not in signature(opener).parameters:
        raise DatasetError(f"{name}: takes no list of pairs, it is read from its folders")
    return opener(Path(root), pair_list=Path(pair_list))
