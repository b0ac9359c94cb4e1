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
from glualign.evaluation.truth import scattered, size_of

SCENES = (
    "lakeside", "sand_box", "storage_room", "storage_room_2", "tunnel",
    "delivery_area", "electro", "forest", "playground", "terrains",
)  # fmt: skip
RATES = (3, 5, 7, 9, 11, 13, 15)
_KEYS = ("source_image", "target_image", "Xs", "Ys", "Xt", "Yt")

# The lists are pickles. Only what rebuilds a numpy array may be named in them; everything else is refused.
_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype")} | {
    (module, name)
    for module in ("numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("_reconstruct", "scalar")
}


class _ListUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, text, numbers and numpy arrays, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a list of pairs")
        return super().find_class(module, name)


def eth3d(root: Path) -> Iterator[base.EvalPair]:
    """Groups are the rates; inside a rate, metrics are averaged per scene first."""
    lists = base.require_folder(root, "info_ETH3D_files", ".")
    paths = {(rate, scene): lists / f"{scene}_every_5_rate_of_{rate}" for rate in RATES for scene in SCENES}
    if not any(path.is_file() for path in paths.values()):
        raise DatasetError(f"{lists}: holds no list such as {next(iter(paths.values())).name}")
    for (rate, scene), path in paths.items():
        group = f"rate {rate}"
        try:
            base.require_file(path, "list of pairs")
            entries = read_list(path)
        except DatasetError as error:
            yield base.EvalPair(path.name, base.broken(error), group, scene)
            continue
        for index, entry in enumerate(entries):
            load = partial(_load, root, entry, f"{path}, entry {index}")
            yield base.EvalPair(f"{group}/{scene}/{index:04d}", load, group, scene)


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


def _load(root: Path, entry: Mapping[str, Any], where: str) -> base.Sample:
    missing = [key for key in _KEYS if key not in entry]
    if missing:
        raise DatasetError(f"{where}: lacks {', '.join(missing)}")
    try:
        columns = [np.asarray(entry[key], dtype=np.float64).reshape(-1) for key in _KEYS[2:]]
        points = np.stack(columns, axis=1)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where}: unusable points ({error})") from error
    folders = (root, root / "multiview_training", root / "multiview_testing")
    files = (base.first_file(*(folder / str(entry[key]) for folder in folders)) for key in _KEYS[:2])
    source, target = (base.load_rgb(file) for file in files)
    truth = scattered(points[:, 2:], points[:, :2], size_of(target))
    return base.Sample(source, target, truth, base.longer_side(source))
