"""FlyingChairs: rendered chairs on photographs, its validation split."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from glualign.errors import DatasetError
from glualign.evaluation.datasets import base

HOW = (
    "download FlyingChairs and FlyingChairs_train_val.txt (https://lmb.informatik.uni-freiburg.de); "
    "ROOT holds data/00001_img1.ppm, 00001_img2.ppm, 00001_flow.flo, ..."
)
_VALIDATION = "2"


def chairs(root: Path, *, pair_list: Path | None = None) -> base.Dataset:
    """Target = image 1, source = image 2.

    ``pair_list`` (or FlyingChairs_train_val.txt in ROOT or beside it) has one line per pair, 2 for
    validation; without one, all pairs are used.
    """
    data = base.require_folder(root, ["data", "."], HOW)
    stems = sorted(path.name.removesuffix("_flow.flo") for path in data.glob("*_flow.flo"))
    split = pair_list or next(
        (
            path
            for path in (root / "FlyingChairs_train_val.txt", data / "FlyingChairs_train_val.txt")
            if path.is_file()
        ),
        None,
    )
    title = "FlyingChairs, all pairs" if split is None else "FlyingChairs, validation split"
    chosen = stems if split is None else _validation(split, stems)
    return base.Dataset("chairs", title, base.require_pairs(_pairs(data, chosen), data, HOW))


def _validation(split: Path, stems: list[str]) -> list[str]:
    if not split.is_file():
        raise DatasetError(f"{split}: list of pairs not found")
    labels = split.read_text(encoding="utf-8", errors="replace").split()
    if len(labels) != len(stems):
        raise DatasetError(
            f"{split}: lists {len(labels)} pairs, the folder holds {len(stems)}; use the matching list"
        )
    return [stem for stem, label in zip(stems, labels, strict=True) if label == _VALIDATION]


def _pairs(data: Path, stems: list[str]) -> Iterator[base.EvalPair]:
    for stem in stems:
        yield base.EvalPair(stem, partial(_load, data, stem))


def _load(data: Path, stem: str) -> base.Sample:
    target, source = base.load_rgb(data / f"{stem}_img1.ppm"), base.load_rgb(data / f"{stem}_img2.ppm")
    truth = base.load_flow(data / f"{stem}_flow.flo", target.shape[:2])
    return base.Sample(source, target, truth, base.longer_side(source))
