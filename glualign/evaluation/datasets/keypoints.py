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
from glualign.evaluation.truth import Points, scattered

WILLOW = (
    "download PF-dataset-WILLOW (https://www.di.ens.fr/willow/research/proposalflow/) and put "
    "test_pairs_pf.csv into ROOT, or name it with --list"
)
PASCAL = (
    "download PF-dataset-PASCAL (https://www.di.ens.fr/willow/research/proposalflow/) and put "
    "test_pairs_pf_pascal.csv into ROOT, or name it with --list"
)
SPAIR = (
    "download SPair-71k (https://cvlab.postech.ac.kr/research/SPair-71k/); ROOT holds JPEGImages/, "
    "PairAnnotation/ and Layout/"
)

# What alpha is multiplied with in PCK: the longer side of the source image, or of the object's box in it.
Side = Literal["image", "box"]


def pf_willow(root: Path, *, side: Side, pair_list: Path | None = None) -> base.Dataset:
    """PF-WILLOW: csv rows of two image paths, 10 x and 10 y of the first (source), then of the second."""
    path = pair_list or root / "test_pairs_pf.csv"
    rows = _listed(root, path, ("imageA", "imageB"), WILLOW)
    pairs = (
        base.EvalPair(
            f"{_stem(row['imageA'])} {_stem(row['imageB'])}",
            partial(_load_willow, root, row, f"{path}, line {line}", side),
            row["imageA"].rpartition("/")[0].rpartition("/")[2],
        )
        for line, row in rows
    )
    return base.Dataset(_named("pf-willow", side), "PF-WILLOW", base.require_pairs(pairs, path, WILLOW))


def pf_pascal(root: Path, *, side: Side, pair_list: Path | None = None) -> base.Dataset:
    """PF-PASCAL: a csv with source_image, target_image, class, XA, YA (source), XB, YB (``;`` between)."""
    path = pair_list or root / "test_pairs_pf_pascal.csv"
    rows = _listed(root, path, ("source_image", "target_image", "class", "XA", "YA", "XB", "YB"), PASCAL)
    pairs = (
        base.EvalPair(
            f"{_stem(row['source_image'])} {_stem(row['target_image'])}",
            partial(_load_pascal, root, row, f"{path}, line {line}", side),
            f"class {row['class']}",
        )
        for line, row in rows
    )
    return base.Dataset(_named("pf-pascal", side), "PF-PASCAL", base.require_pairs(pairs, path, PASCAL))


def spair(root: Path, *, side: Side, pair_list: Path | None = None) -> base.Dataset:
    """SPair-71k: the pairs of Layout/large/test.txt with their annotations in PairAnnotation/test."""
    base.require_folder(root, ["PairAnnotation"], SPAIR)
    path = pair_list or root / "Layout" / "large" / "test.txt"
    if not path.is_file():
        raise DatasetError(f"{path}: list of pairs not found; {SPAIR}")
    names = path.read_text(encoding="utf-8", errors="replace").split()
    pairs = (
        base.EvalPair(name, partial(_load_spair, root, name, path.stem, side), name.rpartition(":")[2])
        for name in names
    )
    return base.Dataset(_named("spair", side), "SPair-71k", base.require_pairs(pairs, path, SPAIR))


def _listed(
    root: Path, path: Path, columns: tuple[str, ...], how: str
) -> list[tuple[int, Mapping[str, str]]]:
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; {how}")
    if not path.is_file():
        raise DatasetError(f"{path}: list of pairs not found; {how}")
    return base.read_rows(path, columns)


def _load_willow(root: Path, row: Mapping[str, str], where: str, side: Side) -> base.Sample:
    cells = [column for column in row if column not in ("imageA", "imageB", "")]
    if len(cells) != 40:
        raise DatasetError(f"{where}: {len(cells)} coordinates, expected 40 (10 points in two images)")
    values = np.array([base.numbers(row, column, where)[0] for column in cells]).reshape(4, 10)
    source, target = values[:2].T, values[2:].T
    return _sample(_find(root, row["imageA"]), _find(root, row["imageB"]), source, target, _box(source), side)


def _load_pascal(root: Path, row: Mapping[str, str], where: str, side: Side) -> base.Sample:
    source, target = base.point_columns(row, "A", where), base.point_columns(row, "B", where)
    if len(source) != len(target):
        raise DatasetError(f"{where}: {len(source)} points in the source but {len(target)} in the target")
    images = _find(root, row["source_image"]), _find(root, row["target_image"])
    return _sample(*images, source, target, _box(source), side)


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
        source = np.array(entry["src_kps"], dtype=np.float64).reshape(-1, 2)
        target = np.array(entry["trg_kps"], dtype=np.float64).reshape(-1, 2)
        left, top, right, bottom = (float(value) for value in entry["src_bndbox"])
        names = entry["src_imname"], entry["trg_imname"]
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path}: not a SPair annotation ({type(error).__name__}: {error})") from error
    if len(source) != len(target):
        raise DatasetError(f"{path}: {len(source)} points in the source but {len(target)} in the target")
    return _sample(
        images / names[0], images / names[1], source, target, max(right - left, bottom - top), side
    )


def _sample(
    source_path: Path, target_path: Path, source: Points, target: Points, box: float, side: Side
) -> base.Sample:
    source_image, target_image = base.load_rgb(source_path), base.load_rgb(target_path)
    size = target_image.shape[0], target_image.shape[1]
    length = box if side == "box" else base.longer_side(source_image)
    return base.Sample(source_image, target_image, scattered(target, source, size), length)


def _find(root: Path, name: str) -> Path:
    """The image, whether the list names it from ROOT or from the folder that holds ROOT."""
    inside = root / name
    return inside if inside.is_file() or "/" not in name else root / name.partition("/")[2]


def _box(points: Points) -> float:
    return float((points.max(axis=0) - points.min(axis=0)).max())


def _stem(name: str) -> str:
    return Path(name).stem


def _named(name: str, side: Side) -> str:
    return name if side == "image" else f"{name}-box"
