"""What every data set is made of: pairs that are read when they are needed, and what reads them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glualign.errors import DatasetError, GlualignError
from glualign.evaluation.truth import DenseTruth, Truth
from glualign.flow import read_flow
from glualign.images import read_image, to_rgb8

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Sample:
    """One pair as the methods see it, with its ground truth.

    Attributes:
        source: (H_s, W_s, 3) uint8 RGB, the image that moves.
        target: (H_t, W_t, 3) uint8 RGB, the image whose grid the flow lives on.
        truth: what the flow is compared with.
        longer_side: L of PCK at alpha times L, in pixels.
        may_be_mirrored: the protocol lets a method try the mirrored target as well (TSS).
    """

    source: Pixels
    target: Pixels
    truth: Truth
    longer_side: float
    may_be_mirrored: bool = False


@dataclass(frozen=True, eq=False)
class EvalPair:
    """A pair of a data set; ``load`` reads it and raises a `GlualignError` when its files are not right.

    ``group`` is a row of the results table (an HPatches difficulty, a rate, a set); where the protocol first
    averages inside scenes, ``subgroup`` is the scene.
    """

    name: str
    load: Callable[[], Sample]
    group: str = ""
    subgroup: str = ""


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named list of pairs and how its numbers are averaged."""

    name: str
    title: str
    pairs: tuple[EvalPair, ...]
    pooled_pck: bool = False

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups in the order in which they first occur."""
        return tuple(dict.fromkeys(pair.group for pair in self.pairs))


def longer_side(image: npt.NDArray[np.generic]) -> float:
    """The longer side of an image, in pixels."""
    return float(max(image.shape[:2]))


def load_rgb(path: Path) -> Pixels:
    """Read an image as (H, W, 3) uint8 RGB."""
    if not path.is_file():
        raise DatasetError(f"{path}: image not found")
    return np.asarray(to_rgb8(read_image(path)), dtype=np.uint8)


def load_flow(path: Path, size: tuple[int, int]) -> DenseTruth:
    """Read a dense true flow that must have ``size`` (height, width); unknown pixels are masked out."""
    if not path.is_file():
        raise DatasetError(f"{path}: ground-truth flow not found")
    field = read_flow(path).data
    if field.shape[:2] != size:
        raise DatasetError(
            f"{path}: the flow is {field.shape[1]} x {field.shape[0]} pixels, its target image "
            f"{size[1]} x {size[0]}"
        )
    known = np.asarray(np.isfinite(field).all(axis=-1), dtype=bool)
    return DenseTruth(np.where(known[..., None], field, np.float32(0)).astype(np.float32), known)


def load_mask(path: Path, size: tuple[int, int]) -> Pixels:
    """Read a grey mask of ``size`` (height, width) as (H, W) uint8."""
    mask = load_rgb(path)[..., 0]
    if mask.shape != size:
        raise DatasetError(
            f"{path}: the mask is {mask.shape[1]} x {mask.shape[0]} pixels, its image {size[1]} x {size[0]}"
        )
    return mask


def load_table(path: Path, columns: int, what: str) -> npt.NDArray[np.float64]:
    """Read a text file of numbers with ``columns`` columns; lines starting with ``#`` are comments."""
    if not path.is_file():
        raise DatasetError(f"{path}: {what} not found")
    try:
        table = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a table of numbers ({error})") from error
    if table.size == 0 or table.shape[1] != columns or not np.isfinite(table).all():
        raise DatasetError(f"{path}: expected rows of {columns} finite numbers ({what})")
    return table


def load_homography(path: Path) -> npt.NDArray[np.float64]:
    """Read a 3x3 matrix that can be inverted."""
    matrix = load_table(path, 3, "homography")
    if matrix.shape != (3, 3) or abs(np.linalg.det(matrix)) < 1e-12:
        raise DatasetError(f"{path}: not an invertible 3x3 matrix")
    return matrix


def read_rows(path: Path, columns: Iterable[str]) -> list[tuple[int, Mapping[str, str]]]:
    """The rows of a csv file with a header, each with its line number.

    Raises:
        DatasetError: the file is missing or empty, or one of ``columns`` is not in its header.
    """
    if not path.is_file():
        raise DatasetError(f"{path}: list of pairs not found")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            rows: list[tuple[int, Mapping[str, str]]] = [(reader.line_num, row) for row in reader]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a csv file ({error})") from error
    missing = [column for column in columns if column not in (reader.fieldnames or [])]
    if missing:
        raise DatasetError(f"{path}: the header lacks {', '.join(missing)}")
    return rows


def numbers(row: Mapping[str, str], column: str, where: str) -> npt.NDArray[np.float64]:
    """The numbers in a cell, separated by ``;``.

    Raises:
        DatasetError: the cell is empty or holds something else.
    """
    try:
        values = np.array([float(part) for part in row[column].split(";") if part.strip()])
    except (ValueError, AttributeError) as error:
        raise DatasetError(f"{where}: {column} holds {row[column]!r}, expected numbers") from error
    if values.size == 0:
        raise DatasetError(f"{where}: {column} is empty")
    return values


def point_columns(row: Mapping[str, str], side: str, where: str) -> npt.NDArray[np.float64]:
    """Points (N, 2) from the columns ``X<side>`` and ``Y<side>`` of a row."""
    x, y = numbers(row, f"X{side}", where), numbers(row, f"Y{side}", where)
    if len(x) != len(y):
        raise DatasetError(f"{where}: {len(x)} values in X{side} but {len(y)} in Y{side}")
    return np.stack([x, y], axis=1)


def require_folder(root: Path, names: Sequence[str], how: str) -> Path:
    """The first of ``names`` that is a folder of ``root``.

    Raises:
        DatasetError: ``root`` or all of the folders are missing; ``how`` says how to get the data.
    """
    if not root.is_dir():
        raise DatasetError(f"{root}: no such folder; {how}")
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DatasetError(f"{root}: holds no folder {' or '.join(names)}; {how}")


def require_pairs(pairs: Iterable[EvalPair], root: Path, how: str) -> tuple[EvalPair, ...]:
    """``pairs`` as a tuple.

    Raises:
        DatasetError: there are none.
    """
    found = tuple(pairs)
    if not found:
        raise DatasetError(f"{root}: no pair found; {how}")
    return found


def broken(error: GlualignError) -> Callable[[], Sample]:
    """A ``load`` for a pair whose entry in the list is unusable: it raises ``error`` when its turn comes."""

    def load() -> Sample:
        raise error

    return load


def pad_to(
    image: npt.NDArray[np.generic], size: tuple[int, int], mode: str = "constant"
) -> npt.NDArray[np.generic]:
    """Pad at the bottom and right to ``size`` with zeros, or with ``mode="edge"`` with the last pixels."""
    height, width = image.shape[:2]
    widths = [(0, size[0] - height), (0, size[1] - width)] + [(0, 0)] * (image.ndim - 2)
    if mode == "edge":
        return np.pad(image, widths, mode="edge")
    return np.pad(image, widths, mode="constant")


def common_size(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> tuple[int, int]:
    """The smallest (height, width) that holds both images."""
    return max(first.shape[0], second.shape[0]), max(first.shape[1], second.shape[1])
