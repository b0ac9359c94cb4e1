"""A folder of photographs, decoded once into one memory-mapped file that all worker processes share."""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Bytes, Floats
from glualign.errors import TrainingError
from glualign.files import PathLike, atomic_path, reading, write_text

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
SMALLEST_SIDE = 64
KINDS = ("aligned", "views", "classes", "video")  # of photographs that belong together
MATCHES_NAME = "matches.csv"
MATCHES_COLUMNS = ["image_a", "image_b", "x_a", "y_a", "x_b", "y_b"]
Indices = npt.NDArray[np.int64]
Group = list[tuple[int, int, Floats | None]]
"""Pairs of a folder by index; of views with ``(N, 4)`` matches, x, y, x, y from 0 to 1 over the image."""


@dataclass(frozen=True, eq=False)
class PhotoStore:
    """Decoded photographs in one flat file; reading one is a view into the page cache, never a copy."""

    data_path: Path  # flat uint8 file, photographs one after the other, each (H, W, 3) RGB
    names: tuple[str, ...]  # path of each photograph relative to its folder, sorted
    shapes: npt.NDArray[np.int64]  # (N, 2) int64, height and width
    root: Path  # the folder
    left_out: int = 0  # files that are too small or cannot be decoded

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Bytes:
        """Photograph ``index`` as a read-only (H, W, 3) uint8 RGB view."""
        shape = (*self.shapes[index].tolist(), 3)
        return np.asarray(np.memmap(self.data_path, np.uint8, "r", int(self._starts[index]), shape))

    @cached_property
    def _starts(self) -> Indices:
        """(N + 1,) int64, first byte of each photograph in the file, and the end of the last."""
        return np.cumsum([0, *(self.shapes.prod(axis=1) * 3)])

    def groups(self, kind: str, indices: Indices) -> list[Group]:
        """Photographs among ``indices`` that belong together, of each folder that has some.

        ``aligned`` are those whose names differ in a final ``_a`` and ``_b`` alone, in any folder. The other
        `KINDS` have a folder of their name, and in it one for each scene, class or clip: a frame belongs to
        the next one, views do so by a file of matches, and a photograph of a class is a pair by itself. A
        `TrainingError` names the file that is missing or wrong, or says that there are too few photographs.
        """
        folders: dict[PurePosixPath, dict[str, int]] = {}
        for index, name in enumerate(map(PurePosixPath, self.names)):
            if kind in ("aligned", name.parent.parent.name):
                folders.setdefault(name.parent, {})[name.name] = index
        groups: list[Group] = []
        for folder, members in folders.items():
            if kind == "views":
                group = self._views(self.root / folder, members)
            else:
                pairs = _PAIRS[kind](members)
                group = [(a, b, None) for a, b in pairs if (self.shapes[a] == self.shapes[b]).all()]
            groups.append([each for each in group if np.isin(each[:2], indices).all()])
        fewest = 2 if kind == "classes" else 1  # a triplet needs two of a class, and another class
        groups = [group for group in groups if len(group) >= fewest]
        if len(groups) < fewest:
            fault = f"{self.root}: too few training photographs for {kind} in the mix"
            raise TrainingError(f"{fault}; add some as docs/training.md says, or set its weight to 0")
        return groups

    def _views(self, folder: Path, members: Mapping[str, int]) -> Group:
        """Pairs of views of a folder with their matches; ``members`` are its photographs by name."""
        path = folder / MATCHES_NAME
        if not path.is_file():
            raise TrainingError(f"{path}: no such file; write it with tools/match_views.py")
        with reading(path, TrainingError) as stream:
            try:
                first, *rows = filter(None, csv.reader(stream.read().decode("utf-8").splitlines()))
                pairs = np.array([[members[a], members[b]] for a, b, *_ in rows], int).reshape(-1, 2)
                matches = np.array([row[2:] for row in rows], np.float32).reshape(len(rows), 4)
                if first != MATCHES_COLUMNS or not ((matches >= 0) & (matches <= 1)).all():
                    raise ValueError("other columns, or numbers that are not from 0 to 1")
            except (csv.Error, KeyError, ValueError) as error:
                fault = f"not a table {','.join(MATCHES_COLUMNS)} of photographs beside it ({error})"
                raise TrainingError(f"{fault}; write it with tools/match_views.py") from error
        different, of_row = np.unique(pairs, axis=0, return_inverse=True)
        return [(a, b, matches[of_row.ravel() == n]) for n, (a, b) in enumerate(different.tolist())]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the photographs' names and sizes, the same wherever the folder lies."""
        text = json.dumps([self.names, self.shapes.tolist()])
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def split(self, held_out: Sequence[str] = (), share: float = 0.04) -> tuple[Indices, Indices]:
        """Indices for training and for validation.

        ``held_out`` are shell patterns on the relative names (``kodak/*``). Without any, that share of the
        photographs is held out, evenly spaced, at least one. Choose patterns when a folder holds several
        crops of one photograph. A `TrainingError` says that one of the two parts would be empty.
        """
        if held_out:
            mask = np.array([any(fnmatch.fnmatch(name, p) for p in held_out) for name in self.names])
        else:
            mask = np.diff(np.floor(np.arange(len(self) + 1) * share + 1e-9)) > 0
            mask[-1] |= not mask.any()
        train, held = np.flatnonzero(~mask), np.flatnonzero(mask)
        if not len(train) or not len(held):
            raise TrainingError(
                f"{len(train)} photographs to train on and {len(held)} held out by {list(held_out)}; "
                "change data.held_out in the recipe so that both parts have some"
            )
        return train, held


def _aligned(members: Mapping[str, int]) -> Iterator[tuple[int, int]]:
    stems = {name.rpartition(".")[0]: index for name, index in members.items()}
    for stem, index in stems.items():
        other = f"{stem[:-2]}_b"
        if stem.endswith("_a") and other in stems:
            yield index, stems[other]


_PAIRS: dict[str, Callable[[Mapping[str, int]], Iterable[tuple[int, int]]]] = {
    "aligned": _aligned,
    "classes": lambda members: zip(members.values(), members.values(), strict=True),
    "video": lambda members: pairwise(members.values()),
}
"""Pairs among the photographs of a folder, by name, for each kind but views."""


def open_photos(folder: PathLike, cache: PathLike | None = None, max_side: int = 1024) -> PhotoStore:
    """Decode every photograph below ``folder`` (once; later calls reuse the cache) and map the result.

    Photographs whose long side exceeds ``max_side`` are reduced to it. ``cache`` is the folder of the
    decoded file, by default ``glualign-photos`` in the system's temporary folder. Files that cannot be
    decoded, or are smaller than 64 pixels, are left out. A `TrainingError` says that the folder does not
    exist or holds no usable photograph.
    """
    root = Path(folder)
    if not root.is_dir():
        raise TrainingError(f"{root}: not a folder; give a folder of photographs with --photos")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and p.is_file())
    if not files:
        raise TrainingError(f"{root}: holds no photographs ({', '.join(sorted(PHOTO_SUFFIXES))})")
    stamps = [(str(p.relative_to(root)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
    key = hashlib.sha256(repr((max_side, stamps)).encode("utf-8", "surrogateescape")).hexdigest()[:20]
    cache_dir = Path(cache) if cache is not None else Path(tempfile.gettempdir()) / "glualign-photos"
    data_path, index_path = cache_dir / f"{key}.rgb", cache_dir / f"{key}.json"
    if not (data_path.is_file() and index_path.is_file()):
        found: dict[str, list[int]] = {}
        with atomic_path(data_path) as temporary, temporary.open("wb") as out:
            for path in files:
                with reading(path, TrainingError) as stream:
                    data = np.frombuffer(stream.read(), np.uint8)
                pixels = None
                with suppress(cv2.error):  # of an empty file, or of one that claims too many pixels
                    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR)
                if pixels is None or min(pixels.shape[:2]) < SMALLEST_SIDE:
                    continue
                scale = max_side / max(pixels.shape[:2])
                if scale < 1:
                    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                out.write(np.ascontiguousarray(pixels[:, :, ::-1]).tobytes())
                found[path.relative_to(root).as_posix()] = [*pixels.shape[:2]]
        # The index is written last: a cache without it is incomplete and is decoded again.
        write_text(index_path, json.dumps({"names": [*found], "shapes": [*found.values()]}))
    index = json.loads(index_path.read_text(encoding="utf-8"))
    if not index["names"]:
        raise TrainingError(f"{root}: none of its {len(files)} image files could be decoded")
    names, shapes = tuple(index["names"]), np.array(index["shapes"], dtype=np.int64)
    return PhotoStore(data_path, names, shapes, root, len(files) - len(names))
