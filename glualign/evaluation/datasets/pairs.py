"""Plain folders of pairs: ``<set>/<pair>/source.*, target.*`` and a file of ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from glualign.errors import DatasetError
from glualign.evaluation.datasets import base
from glualign.evaluation.truth import PointTruth, Truth, homography_truth, size_of
from glualign.geometry import Size

_TRUTHS = (_FLOW, _MATRIX, _POINTS) = ("flow.flo", "H_target_to_source.txt", "points_target_source.txt")


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
