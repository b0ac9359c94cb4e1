"""Data sets with ground truth, each read from its official folder layout.

`open_dataset` turns a name of `DATASETS` and a folder into a `Dataset`: a list of pairs that are read one by
one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from inspect import signature
from itertools import chain, count
from pathlib import Path
from typing import NamedTuple

from glualign.errors import DatasetError
from glualign.evaluation.datasets.base import Dataset, EvalPair, Sample
from glualign.evaluation.datasets.folders import chairs, hpatches, kitti, middlebury, pairs, sintel, tss
from glualign.evaluation.datasets.points import eth3d, megadepth, pf_pascal, pf_willow, spair
from glualign.files import PathLike

__all__ = ["DATASETS", "Dataset", "EvalPair", "Sample", "open_dataset"]


class _Layout(NamedTuple):
    """How a data set is read."""

    title: str  # heading of its table; ``{root}`` stands for the folder's name
    how: str  # where it comes from, and what ROOT holds
    list_pairs: Callable[..., Iterable[EvalPair]]  # from ROOT, and ``pair_list`` where there is one


_PAIRS = (
    "ROOT holds <set>/<pair>/ (or <pair>/) with source.*, target.* and one of flow.flo, "
    "H_target_to_source.txt, points_target_source.txt"
)
_HPATCHES = (
    "download hpatches-sequences-release (https://github.com/hpatches/hpatches-dataset); "
    "ROOT is the folder that holds v_*/1.ppm ... 6.ppm and H_1_2 ... H_1_6"
)
_KITTI = (
    "download the KITTI flow {} training set (https://www.cvlibs.net/datasets/kitti/eval_flow.php); "
    "ROOT or ROOT/training holds {}/ and flow_occ/ or flow_noc/"
)
_SINTEL = (
    "download MPI-Sintel-complete (http://sintel.is.tue.mpg.de); ROOT or ROOT/training holds clean/, final/, "
    "flow/ and invalid/"
)
_PROPOSAL_FLOW = (
    "download PF-dataset-{} (https://www.di.ens.fr/willow/research/proposalflow/) and put {}.csv into ROOT, "
    "or name it with --list"
)
_OBJECTS = {
    "pf-willow": _Layout("PF-WILLOW", _PROPOSAL_FLOW.format("WILLOW", "test_pairs_pf"), pf_willow),
    "pf-pascal": _Layout("PF-PASCAL", _PROPOSAL_FLOW.format("PASCAL", "test_pairs_pf_pascal"), pf_pascal),
    "spair": _Layout(
        "SPair-71k",
        "download SPair-71k (https://cvlab.postech.ac.kr/research/SPair-71k/); ROOT holds JPEGImages/, "
        "PairAnnotation/ and Layout/",
        spair,
    ),
}

DATASETS: Mapping[str, _Layout] = {
    "pairs": _Layout("Pairs of {root}", _PAIRS, pairs),
    "pairs-points": _Layout("Pairs of {root}, annotated points", _PAIRS, partial(pairs, points_first=True)),
    "hpatches-240": _Layout("HPatches viewpoints, 240 x 240", _HPATCHES, partial(hpatches, square=240)),
    "hpatches": _Layout("HPatches viewpoints, original size", _HPATCHES, partial(hpatches, square=None)),
    **{
        f"kitti-{year}{suffix}": _Layout(
            f"KITTI {year} training, {pixels} pixels",
            _KITTI.format(year, images),
            partial(kitti, images=images, truth=truth),
        )
        for year, images in ((2012, "colored_0"), (2015, "image_2"))
        for suffix, pixels, truth in (("", "all", "flow_occ"), ("-noc", "non-occluded", "flow_noc"))
    },
    "sintel-clean": _Layout("MPI-Sintel training, clean pass", _SINTEL, partial(sintel, rendering="clean")),
    "sintel-final": _Layout("MPI-Sintel training, final pass", _SINTEL, partial(sintel, rendering="final")),
    "middlebury": _Layout(
        "Middlebury optical flow",
        "download other-color-twoframes and other-gt-flow (https://vision.middlebury.edu/flow/data/); ROOT "
        "holds other-data/ and other-gt-flow/",
        middlebury,
    ),
    "chairs": _Layout(
        "FlyingChairs",
        "download FlyingChairs and FlyingChairs_train_val.txt (https://lmb.informatik.uni-freiburg.de); "
        "ROOT holds data/00001_img1.ppm, 00001_img2.ppm, 00001_flow.flo, ...",
        chairs,
    ),
    "tss": _Layout(
        "TSS",
        "download TSS_CVPR2016 (https://taniai.space/projects/cvpr16_dccs/); ROOT holds FG3DCar/, JODS/ and "
        "PASCAL/, each with folders of image1.png, image2.png, flow1.flo, flow2.flo, mask1.png, mask2.png",
        tss,
    ),
    **{
        f"{name}{suffix}": layout._replace(list_pairs=partial(layout.list_pairs, side=side))
        for name, layout in _OBJECTS.items()
        for suffix, side in (("", "image"), ("-box", "box"))
    },
    "eth3d": _Layout(
        "ETH3D",
        "download the two-view lists of GLU-Net (info_ETH3D_files) and the ETH3D multi-view videos "
        "(https://www.eth3d.net/datasets); ROOT holds info_ETH3D_files/<scene>_every_5_rate_of_<rate> and "
        "the images",
        eth3d,
    ),
    "megadepth": _Layout(
        "MegaDepth",
        "download the MegaDepth test images and test1600Pairs.csv of RANSAC-Flow "
        "(https://github.com/XiSHEN0220/RANSAC-Flow); put the csv into ROOT or name it with --list",
        megadepth,
    ),
}


def open_dataset(name: str, root: PathLike, *, pair_list: PathLike | None = None) -> Dataset:
    """Open the data set ``name`` in the folder ``root``; its images are read later, pair by pair.

    ``pair_list`` names a list of pairs elsewhere than in its official place, for the sets that have one. A
    `DatasetError` says that the name is unknown, or what the folder lacks and how to get it.
    """
    if name not in DATASETS:
        raise DatasetError(f"{name}: unknown data set; known are {', '.join(DATASETS)}")
    title, how, list_pairs = DATASETS[name]
    if pair_list is not None and "pair_list" not in signature(list_pairs).parameters:
        raise DatasetError(f"{name}: takes no list of pairs, it is read from its folders")
    folder = Path(root)
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; {how}")
    try:
        listed = list_pairs(folder, **({} if pair_list is None else {"pair_list": Path(pair_list)}))
        found = tuple(_named_apart(listed))
    except DatasetError as error:
        raise DatasetError(f"{error}; {how}") from error
    if not found:
        raise DatasetError(f"{folder}: no pair found; {how}")
    origin = tuple(os.path.realpath(path) for path in (folder, pair_list) if path is not None)
    return Dataset(name, title.format(root=folder.name), found, name == "megadepth", origin)


def _named_apart(pairs: Iterable[EvalPair]) -> Iterator[EvalPair]:
    """The pairs, each with a name of its own, and all names as a csv of results has them."""
    taken: set[str] = set()
    for pair in pairs:
        name, group, subgroup = (" ".join(each.split()) for each in (pair.name, pair.group, pair.subgroup))
        names = chain([name], (f"{name} ({number})" for number in count(2)))
        taken.add(apart := next(each for each in names if each not in taken))
        yield EvalPair(apart, pair.read, group, subgroup)
