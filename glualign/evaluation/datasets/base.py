"""What every data set is made of: pairs that are read when they are needed, and what reads them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glualign.arrays import Bytes, Doubles
from glualign.errors import DatasetError
from glualign.evaluation.truth import DenseTruth, Truth, size_of
from glualign.flow import read_flow
from glualign.geometry import Matrix, Points, Size
from glualign.images import read_image, to_rgb8

Pixels = Bytes


@dataclass(frozen=True, eq=False)
class Sample:
    """One pair as the methods see it, with its ground truth."""

    source: Pixels  # (H_s, W_s, 3) uint8 RGB, the image that moves
    target: Pixels  # (H_t, W_t, 3) uint8 RGB, the image whose grid the flow lives on
    truth: Truth  # what the flow is compared with
    longer_side: float  # L of PCK at alpha times L, in pixels
    may_be_mirrored: bool = False  # the protocol lets a method try the mirrored target as well (TSS)


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
    require_file(path, "image")
    return np.asarray(to_rgb8(read_image(path)), dtype=np.uint8)


def load_flow(path: Path, size: Size) -> DenseTruth:
    """Read a dense true flow that must have ``size`` (height, width); unknown pixels are masked out."""
    require_file(path, "ground-truth flow")
    flow = read_flow(path)
    _require_size(f"{path}: the flow", flow.size, size)
    return DenseTruth(np.nan_to_num(flow.data), flow.known)


def load_mask(path: Path, size: Size) -> Pixels:
    """Read a grey mask of ``size`` (height, width) as (H, W) uint8."""
    mask = load_rgb(path)[..., 0]
    _require_size(f"{path}: the mask", size_of(mask), size)
    return mask


def load_table(path: Path, columns: int, what: str) -> Doubles:
    """Read a text file of numbers with ``columns`` columns; lines starting with ``#`` are comments."""
    require_file(path, what)
    try:
        table = np.loadtxt(path, dtype=np.float64, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a table of numbers ({error})") from error
    if table.size == 0 or table.shape[1] != columns or not np.isfinite(table).all():
        raise DatasetError(f"{path}: expected rows of {columns} finite numbers ({what})")
    return table


def load_homography(path: Path) -> Matrix:
    """Read a 3x3 matrix that can be inverted."""
    return invertible(load_table(path, 3, "homography"), str(path))


def invertible(matrix: Matrix, where: str) -> Matrix:
    """The matrix itself.

    Raises:
        DatasetError: it is not 3x3 and finite, or has no inverse.
    """
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise DatasetError(f"{where}: not an invertible 3x3 matrix")
    return matrix


def read_rows(path: Path, columns: Iterable[str]) -> list[tuple[str, Mapping[str, str]]]:
    """The rows of a csv file with a header, each with where it stands, "file, line n".

    Raises:
        DatasetError: the file is missing, or one of ``columns`` in its header.
    """
    require_file(path, "list of pairs")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            rows: list[tuple[str, Mapping[str, str]]] = [
                (f"{path}, line {reader.line_num}", row) for row in reader
            ]
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: not a csv file ({error})") from error
    missing = [column for column in columns if column not in (reader.fieldnames or [])]
    if missing:
        raise DatasetError(f"{path}: the header lacks {', '.join(missing)}")
    return rows


def numbers(row: Mapping[str, str], column: str, where: str) -> Doubles:
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


def point_columns(row: Mapping[str, str], where: str) -> tuple[Points, Points]:
    """Points (N, 2) of the source, columns XA and YA, and of the target, XB and YB."""
    columns = {name: numbers(row, name, where) for name in ("XA", "YA", "XB", "YB")}
    count = len(columns["XA"])
    for name, values in columns.items():
        if len(values) != count:
            raise DatasetError(f"{where}: {count} values in XA but {len(values)} in {name}")
    points = np.stack(list(columns.values()), axis=1)
    return points[:, :2], points[:, 2:]


def require_file(path: Path, what: str) -> None:
    """Raise a `DatasetError` unless ``path`` is a file."""
    if not path.is_file():
        raise DatasetError(f"{path}: {what} not found")


def first_file(*paths: Path) -> Path:
    """The first of ``paths`` that is a file, or the first of all if none is."""
    return next((path for path in paths if path.is_file()), paths[0])


def require_folder(root: Path, *names: str) -> Path:
    """The first of ``names`` that is a folder of ``root``; ``root`` itself is ".".

    Raises:
        DatasetError: there is none of them.
    """
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DatasetError(f"{root}: holds no folder {' or '.join(names)}")


def broken(error: DatasetError) -> Callable[[], Sample]:
    """A ``load`` for a pair whose entry in the list is unusable: it raises ``error`` when its turn comes."""

    def load() -> Sample:
        raise error

    return load


def padded(images: tuple[Pixels, Pixels]) -> tuple[Pixels, Pixels]:
    """Both images padded with zeros at the bottom and right to the smallest size that holds both."""
    height, width = np.max([image.shape[:2] for image in images], axis=0)
    first, second = (
        np.pad(image, ((0, height - image.shape[0]), (0, width - image.shape[1]), (0, 0))) for image in images
    )
    return first, second


def _require_size(what: str, size: Size, expected: Size) -> None:
    if size != expected:
        raise DatasetError(f"{what} is {size[1]} x {size[0]} pixels, its image {expected[1]} x {expected[0]}")
