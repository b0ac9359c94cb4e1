"""What every data set is made of: pairs that are read when they are needed, and what reads them."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glualign.arrays import Bytes, Doubles, Matrix, Size
from glualign.errors import DatasetError
from glualign.evaluation.metrics import DenseTruth, Truth
from glualign.files import read_bytes, reading
from glualign.flow import read_flow
from glualign.geometry import size_of, wxh
from glualign.images import read_image, to_rgb8

Pixels = Bytes
Row = Mapping[str, str]
WHERE = ""  # the cell of a `Row` that says where it stands; no column has this name
MOST_BYTES = 1 << 30  # of a list of pairs or an annotation: the longest published holds some megabytes


@dataclass(frozen=True, eq=False)
class Sample:
    """One pair as the methods see it, with its ground truth."""

    source: Pixels  # (H_s, W_s, 3) uint8 RGB, the image that moves
    target: Pixels  # (H_t, W_t, 3) uint8 RGB, the image whose grid the flow lives on
    truth: Truth  # what the flow is compared with
    side: float | None = None  # L of PCK at alpha times L in pixels, where it is not that of the source image
    may_be_mirrored: bool = False  # the protocol lets a method try the mirrored target as well (TSS)

    @property
    def longer_side(self) -> float:
        """L of PCK at alpha times L, in pixels."""
        return float(max(self.source.shape[:2]) if self.side is None else self.side)


@dataclass(frozen=True, eq=False)
class EvalPair:
    """A pair of a data set, which is read when it is needed.

    ``group`` is a row of the results table (an HPatches difficulty, a rate, a set); where the protocol first
    averages inside scenes, ``subgroup`` is the scene.
    """

    name: str
    read: Callable[[], Sample]
    group: str = ""
    subgroup: str = ""

    def load(self) -> Sample:
        """The pair; a `GlualignError` says that its files are not right, or no pixel has ground truth."""
        sample = self.read()
        if sample.truth.count() == 0:
            raise DatasetError(f"{self.name}: no pixel with ground truth inside the source")
        return sample


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named list of pairs, how its numbers are averaged, and the files that list them (``origin``)."""

    name: str
    title: str
    pairs: tuple[EvalPair, ...]
    pooled_pck: bool = False
    origin: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups in the order in which they first occur."""
        return tuple(dict.fromkeys(pair.group for pair in self.pairs))


def load_rgb(*paths: Path) -> Pixels:
    """Read the first of ``paths`` that is a file as (H, W, 3) uint8 RGB."""
    path = next((path for path in paths if path.is_file()), paths[0])
    return np.asarray(to_rgb8(read_image(path)), dtype=np.uint8)


def load_flow(path: Path, size: Size) -> DenseTruth:
    """Read a dense true flow that must have ``size`` (height, width); unknown pixels are masked out."""
    flow = read_flow(path)
    _require_size(f"{path}: the flow", flow.size, size)
    return DenseTruth(np.nan_to_num(flow.data), flow.known)


def load_mask(path: Path, size: Size) -> Pixels:
    """Read a grey mask of ``size`` (height, width) as (H, W) uint8."""
    mask = load_rgb(path)[..., 0]
    _require_size(f"{path}: the mask", size_of(mask), size)
    return mask


def _require_size(what: str, size: Size, expected: Size) -> None:
    if size != expected:
        raise DatasetError(f"{what} is {wxh(size)} pixels, its image {wxh(expected)}")


def load_table(path: Path, columns: int) -> Doubles:
    """Read a text file of finite numbers with ``columns`` columns; lines starting with ``#`` are comments."""
    with reading(path, DatasetError) as stream:
        try:
            table = np.loadtxt(stream, dtype=np.float64, ndmin=2)
        except ValueError as error:
            raise DatasetError(f"not a table of numbers ({error})") from error
        if table.size == 0 or table.shape[1] != columns or not np.isfinite(table).all():
            raise DatasetError(f"expected rows of {columns} finite numbers")
    return table


def load_homography(path: Path) -> Matrix:
    """Read a 3x3 matrix that can be inverted."""
    return invertible(load_table(path, 3), str(path))


def invertible(matrix: Matrix, where: str) -> Matrix:
    """The matrix itself; a `DatasetError` if it is not 3x3 and finite, or has no inverse."""
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise DatasetError(f"{where}: not an invertible 3x3 matrix")
    return matrix


def read_text(path: Path) -> str:
    """A list of pairs or an annotation, in UTF-8."""
    return read_bytes(path, MOST_BYTES, error=DatasetError).decode("utf-8-sig", "replace")


def read_rows(path: Path, columns: Iterable[str]) -> list[Row]:
    """The rows of a csv file whose header has ``columns``; where each stands, "file, line n", is `WHERE`."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), restkey="", restval="")
    try:
        rows: list[Row] = [{**row, WHERE: f"{path}, line {reader.line_num}"} for row in reader]
    except csv.Error as error:
        raise DatasetError(f"{path}: not a csv file ({error})") from error
    missing = [column for column in columns if column not in (reader.fieldnames or [])]
    if missing:
        raise DatasetError(f"{path}: the header lacks {', '.join(missing)}")
    return rows


def numbers(row: Row, columns: Iterable[str]) -> Doubles:
    """Some cells of a row, each N numbers separated by ``;``, as an array (N, number of columns)."""
    found: dict[str, list[float]] = {}
    for column in columns:
        try:
            found[column] = [float(part) for part in row[column].split(";") if part.strip()]
        except ValueError as error:
            raise DatasetError(f"{row[WHERE]}: {column} holds {row[column]!r}, expected numbers") from error
        first, count = next(iter(found)), len(found[column])
        if count == 0:
            raise DatasetError(f"{row[WHERE]}: {column} is empty")
        if count != len(found[first]):
            raise DatasetError(f"{row[WHERE]}: {len(found[first])} values in {first} but {count} in {column}")
    return np.array(list(found.values())).T


def require_folder(root: Path, *names: str) -> Path:
    """The first of ``names`` that is a folder of ``root`` (itself: "."); a `DatasetError` if none is."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    raise DatasetError(f"{root}: holds no folder {' or '.join(names)}")


def padded(images: tuple[Pixels, Pixels]) -> tuple[Pixels, Pixels]:
    """Both images padded with zeros at the bottom and right to the smallest size that holds both."""
    size = np.max([image.shape for image in images], axis=0)
    first, second = (np.pad(image, [(0, more) for more in size - image.shape]) for image in images)
    return first, second
