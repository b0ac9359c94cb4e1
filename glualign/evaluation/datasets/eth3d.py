"""ETH3D: pairs of video frames 3 to 15 frames apart, with sparse ground truth from reconstruction."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from glualign.errors import DatasetError
from glualign.evaluation.datasets import base
from glualign.evaluation.truth import scattered

HOW = (
    "download the two-view lists of GLU-Net (info_ETH3D_files) and the ETH3D multi-view videos "
    "(https://www.eth3d.net/datasets); ROOT holds info_ETH3D_files/<scene>_every_5_rate_of_<rate> and the "
    "images"
)
SCENES = (
    "lakeside", "sand_box", "storage_room", "storage_room_2", "tunnel",
    "delivery_area", "electro", "forest", "playground", "terrains",
)  # fmt: skip
RATES = (3, 5, 7, 9, 11, 13, 15)
_KEYS = ("source_image", "target_image", "Xs", "Ys", "Xt", "Yt")

# The lists are pickles. Only what rebuilds a numpy array may be named in them; everything else is refused.
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
_REBUILDERS = ("_reconstruct", "scalar")


class _ListUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, text, numbers and numpy arrays, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name in _REBUILDERS:
            return getattr(_multiarray(), name)
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a list of pairs")


def eth3d(root: Path) -> base.Dataset:
    """Groups are the rates; inside a rate, metrics are averaged per scene first."""
    lists = base.require_folder(root, ["info_ETH3D_files", "."], HOW)
    if not any(_path(lists, scene, rate).is_file() for rate in RATES for scene in SCENES):
        raise DatasetError(f"{lists}: holds no list such as {_path(lists, SCENES[0], RATES[0]).name}; {HOW}")
    return base.Dataset("eth3d", "ETH3D", tuple(_pairs(root, lists)))


def read_list(path: Path) -> list[Mapping[str, Any]]:
    """The entries of one list, each with source_image, target_image, Xs, Ys, Xt, Yt.

    Raises:
        DatasetError: the file is unreadable, or holds anything but such entries.
    """
    try:
        # Written by Python 2 in part, hence latin1.
        entries = _ListUnpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DatasetError(f"{path}: not a list of pairs ({error})") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise DatasetError(f"{path}: not a list of pairs")
    return entries


def _path(lists: Path, scene: str, rate: int) -> Path:
    return lists / f"{scene}_every_5_rate_of_{rate}"


def _pairs(root: Path, lists: Path) -> Iterator[base.EvalPair]:
    for rate in RATES:
        for scene in SCENES:
            path, group = _path(lists, scene, rate), f"rate {rate}"
            try:
                base.require_file(path, "list of pairs")
                entries = read_list(path)
            except DatasetError as error:
                yield base.EvalPair(path.name, base.broken(error), group, scene)
                continue
            for index, entry in enumerate(entries):
                load = partial(_load, root, entry, f"{path}, entry {index}")
                yield base.EvalPair(f"rate {rate}/{scene}/{index:04d}", load, group, scene)


def _load(root: Path, entry: Mapping[str, Any], where: str) -> base.Sample:
    missing = [key for key in _KEYS if key not in entry]
    if missing:
        raise DatasetError(f"{where}: lacks {', '.join(missing)}")
    try:
        xs, ys, xt, yt = (np.asarray(entry[key], dtype=np.float64).reshape(-1) for key in _KEYS[2:])
        points = np.stack([xs, ys], axis=1), np.stack([xt, yt], axis=1)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where}: unusable points ({error})") from error
    source_points, target_points = base.paired(*points, where)
    source, target = (base.load_rgb(_image(root, str(entry[key]))) for key in _KEYS[:2])
    truth = scattered(target_points, source_points, (target.shape[0], target.shape[1]))
    return base.Sample(source, target, truth, base.longer_side(source))


def _image(root: Path, name: str) -> Path:
    folders = (root, root / "multiview_training", root / "multiview_testing")
    return next((folder / name for folder in folders if (folder / name).is_file()), root / name)


def _multiarray() -> Any:
    """Numpy's module with the array rebuilders, under its old or its new name."""
    try:
        from numpy._core import multiarray
    except ImportError:  # numpy < 2
        from numpy.core import multiarray  # type: ignore[no-redef]
    return multiarray
