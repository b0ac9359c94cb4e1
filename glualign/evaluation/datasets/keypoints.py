"""Semantic key-point sets: PF-WILLOW, PF-PASCAL and SPair-71k."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glualign.errors import DatasetError
from glualign.evaluation.datasets import base
from glualign.evaluation.truth import scattered
from glualign.geometry import Points

_WILLOW = (
    "download PF-dataset-WILLOW (https://www.di.ens.fr/willow/research/proposalflow/) and put "
    "test_pairs_pf.csv into ROOT, or name it with --list"
)
_PASCAL = (
    "download PF-dataset-PASCAL (https://www.di.ens.fr/willow/research/proposalflow/) and put "
    "test_pairs_pf_pascal.csv into ROOT, or name it with --list"
)
_SPAIR = (
    "download SPair-71k (https://cvlab.postech.ac.kr/research/SPair-71k/); ROOT holds JPEGImages/, "
    "PairAnnotation/ and Layout/"
)

# What alpha is multiplied with in PCK: the longer side of the source image, or of the object's box in it.
Side = Literal["image", "box"]


def pf_willow(root: Path, *, side: Side, pair_list: Path | None = None) -> base.Dataset:
    """PF-WILLOW: csv rows of two image paths, 10 x and 10 y of the first (source), then of the second."""
    path = pair_list or base.require_folder(root, ["."], _WILLOW) / "test_pairs_pf.csv"
    pairs = (
        base.EvalPair(
            f"{Path(row['imageA']).stem} {Path(row['imageB']).stem}",
            partial(_load_willow, root, row, where, side),
            row["imageA"].rpartition("/")[0].rpartition("/")[2],
        )
        for where, row in base.read_rows(path, ("imageA", "imageB"), _WILLOW)
    )
    return _dataset("pf-willow", side, "PF-WILLOW", base.require_pairs(pairs, path, _WILLOW))


def pf_pascal(root: Path, *, side: Side, pair_list: Path | None = None) -> base.Dataset:
    """PF-PASCAL: a csv with source_image, target_image, class, XA, YA (source), XB, YB (``;`` between)."""
    path = pair_list or base.require_folder(root, ["."], _PASCAL) / "test_pairs_pf_pascal.csv"
    columns = ("source_image", "target_image", "class", "XA", "YA", "XB", "YB")
    pairs = (
        base.EvalPair(
            f"{Path(row['source_image']).stem} {Path(row['target_image']).stem}",
            partial(_load_pascal, root, row, where, side),
            f"class {row['class']}",
        )
        for where, row in base.read_rows(path, columns, _PASCAL)
    )
    return _dataset("pf-pascal", side, "PF-PASCAL", base.require_pairs(pairs, path, _PASCAL))


def spair(root: Path, *, side: Side, pair_list: Path | None = None) -> base.Dataset:
    """SPair-71k: the pairs of Layout/large/test.txt with their annotations in PairAnnotation/test."""
    base.require_folder(root, ["PairAnnotation"], _SPAIR)
    path = pair_list or root / "Layout" / "large" / "test.txt"
    base.require_file(path, "list of pairs", _SPAIR)
    pairs = (
        base.EvalPair(name, partial(_load_spair, root, name, path.stem, side), name.rpartition(":")[2])
        for name in path.read_text(encoding="utf-8", errors="replace").split()
    )
    return _dataset("spair", side, "SPair-71k", base.require_pairs(pairs, path, _SPAIR))


def _load_willow(root: Path, row: Mapping[str, str], where: str, side: Side) -> base.Sample:
    cells = [column for column in row if column not in ("imageA", "imageB", "")]
    if len(cells) != 40:
        raise DatasetError(f"{where}: {len(cells)} coordinates, expected 40 (10 points in two images)")
    values = np.array([base.numbers(row, column, where)[0] for column in cells]).reshape(4, 10)
    images = _find(root, row["imageA"]), _find(root, row["imageB"])
    return _sample(*images, values[:2].T, values[2:].T, side)


def _load_pascal(root: Path, row: Mapping[str, str], where: str, side: Side) -> base.Sample:
    images = _find(root, row["source_image"]), _find(root, row["target_image"])
    return _sample(*images, *base.point_columns(row, where), side)


def _load_spair(root: Path, name: str, split: str, side: Side) -> base.Sample:
    # A colon separates the category; copies of the data set on some file systems have an underscore instead.
    folder = root / "PairAnnotation" / split
    path = folder / f"{name}.json"
    if not path.is_file():
        path = folder / f"{name.replace(':', '_')}.json"
    if not path.is_file():
        raise DatasetError(f"{folder / name}.json: annotation not found")
    try:
        entry: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        images = root / "JPEGImages" / entry["category"]
        source, target = (
            np.array(entry[key], dtype=np.float64).reshape(-1, 2) for key in ("src_kps", "trg_kps")
        )
        left, top, right, bottom = (float(value) for value in entry["src_bndbox"])
        paths = images / entry["src_imname"], images / entry["trg_imname"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not a SPair annotation ({type(error).__name__}: {error})") from error
    points = base.paired(source, target, str(path))
    return _sample(*paths, *points, side, box=max(right - left, bottom - top))


def _sample(
    source_path: Path, target_path: Path, source: Points, target: Points, side: Side, box: float | None = None
) -> base.Sample:
    """``box`` is the longer side of the object's box; None: of the box around its points."""
    images = base.load_rgb(source_path), base.load_rgb(target_path)
    if box is None:
        box = float((source.max(axis=0) - source.min(axis=0)).max())
    length = box if side == "box" else base.longer_side(images[0])
    size = images[1].shape[0], images[1].shape[1]
    return base.Sample(*images, scattered(target, source, size), length)


def _find(root: Path, name: str) -> Path:
    """The image, whether the list names it from ROOT or from the folder that holds ROOT."""
    named = root / name
    return named if named.is_file() or "/" not in name else root / name.partition("/")[2]


def _dataset(name: str, side: Side, title: str, pairs: tuple[base.EvalPair, ...]) -> base.Dataset:
    return base.Dataset(name if side == "image" else f"{name}-box", title, pairs)
