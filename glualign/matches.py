"""Point matches for structure from motion: of one aligned pair, or of many images as one scene.

Positions are in pixels with integer coordinates at pixel centres, as in `glualign.flow`; COLMAP counts from
the corner, so half a pixel is added for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from glualign.arrays import Array, Doubles, Floats
from glualign.errors import OptionError, OutputError, import_extra
from glualign.files import PathLike, atomic_path, write_bytes, write_text
from glualign.flow import to_source
from glualign.geometry import nearest_pixels, size_of

if TYPE_CHECKING:
    from glualign.alignment import Alignment

MOST = 2000
"""Matches of a pair unless another number is asked for."""
LEAST_CONFIDENCE = 0.5
"""Confidence that a match needs unless another is asked for."""
_SCENE_FORMATS = (".h5", ".txt")
_FORMATS = (".csv", ".npz", *_SCENE_FORMATS)
_DESCRIPTOR = " 0" * 128
"""COLMAP's text import wants one per key point; matches that are imported do not use it."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Points of a source and a target that show the same thing."""

    source: Doubles  # ``(N, 2)`` float64, x and y in source pixels
    target: Doubles  # ``(N, 2)`` float64, x and y in target pixels
    confidence: Floats  # ``(N,)`` float32, 0 to 1
    names: tuple[str, str]  # of the source and the target image


@dataclass(frozen=True, eq=False)
class Scene:
    """Key points of images, and which of them show the same thing.

    Attributes:
        points: by name of an image, ``(N, 2)`` float64, x and y in pixels.
        pairs: by the names of two images: ``(M, 2)`` int64 of indices into the points of both, and ``(M,)``
            float32 confidence, 0 to 1. No index occurs twice in a column.
    """

    points: Mapping[str, Doubles]
    pairs: Mapping[tuple[str, str], tuple[npt.NDArray[np.int64], Floats]]


def find_matches(
    alignment: Alignment,
    *,
    most: int | None = None,
    least_confidence: float = LEAST_CONFIDENCE,
    points: npt.ArrayLike | None = None,
) -> Matches:
    """Matches where the flow is trusted.

    Args:
        alignment: the aligned pair.
        most: matches at most, by default all ``points``, or `MOST` spread evenly over the trusted pixels, the
            most confident of every cell.
        least_confidence: of a match, 0 to 1.
        points: ``(N, 2)`` x and y in target pixels at which to match, instead of an even spread.

    Returns:
        Possibly none.

    Raises:
        OptionError: ``most`` is less than 1.
    """
    if most is not None and most < 1:
        raise OptionError(f"{most} matches at most; ask for at least one")
    eligible = alignment.trusted & (alignment.confidence >= least_confidence)
    if points is None:
        target = spread(np.where(eligible, alignment.confidence, -1.0), most or MOST).astype(np.float64)
    else:
        target = np.asarray(points, np.float64).reshape(-1, 2)
        target = target[np.isfinite(target).all(axis=1)]
    pixels = nearest_pixels(size_of(eligible), *target.T)
    source = np.asarray(to_source(alignment.flow, target), np.float64)
    kept = eligible[pixels] & np.isfinite(source).all(axis=1)
    order, confidence = np.flatnonzero(kept), alignment.confidence[pixels]
    if most is not None and len(order) > most:
        order = np.sort(order[np.argsort(-confidence[order], kind="stable")[:most]])
    names = alignment.source.name, alignment.target.name
    return Matches(source[order], target[order], confidence[order], names)


def write_matches(path: PathLike, matches: Matches | Scene) -> None:
    """Write matches in the form that the extension names.

    ``.csv``: columns source_x, source_y, target_x, target_y, confidence. ``.npz``: keypoints0, keypoints1 (of
    source and target) and confidence. These hold one pair only. ``.h5``: key points and matches as hloc
    stores them, in one file. ``.txt``: COLMAP's raw match list, with a folder ``STEM_keypoints`` of its key
    point files beside it.

    Raises:
        OutputError: unknown extension, names that the format cannot hold or tell apart, or no place to write.
        MissingExtraError: ``.h5`` without h5py.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    check_matches_path(path, matches.names if isinstance(matches, Matches) else tuple(matches.points))
    if suffix in _SCENE_FORMATS:
        if isinstance(matches, Matches):
            indices = np.repeat(np.arange(len(matches.source))[:, None], 2, axis=1)
            points = dict(zip(matches.names, (matches.source, matches.target), strict=True))
            matches = Scene(points, {matches.names: (indices, matches.confidence)})
        (_write_h5 if suffix == ".h5" else _write_txt)(path, matches)
    elif isinstance(matches, Scene):
        raise OutputError(f"{path}: holds one pair; use one of {' '.join(_SCENE_FORMATS)} for a scene")
    elif suffix == ".csv":
        table = np.column_stack([matches.source, matches.target, matches.confidence])
        header = "source_x,source_y,target_x,target_y,confidence"
        with atomic_path(path) as temporary:
            np.savetxt(temporary, table, "%.4f", ",", header=header, comments="")
    else:
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(
                stream,
                keypoints0=matches.source.astype(np.float32),
                keypoints1=matches.target.astype(np.float32),
                confidence=matches.confidence,
                names=np.array(matches.names),
            )


def check_matches_path(path: PathLike, names: Sequence[str] = ()) -> None:
    """Refuse a file that `write_matches` could not write for images of these names; raises as it does."""
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise OutputError(f"{path}: not a format of matches; use one of {' '.join(_FORMATS)}")
    if suffix not in _SCENE_FORMATS:
        return
    if len(set(names)) < len(names):
        raise OutputError(f"{path}: {suffix} tells images apart by name, and both are called {names[0]}")
    for name in names:
        if re.search(r"[\ud800-\udfff]", name):
            raise OutputError(f"{path}: cannot hold the name {name!a}, which is not valid Unicode")
        if suffix == ".txt" and re.search(r"\s", name):
            raise OutputError(f"{path}: COLMAP's list cannot hold a name with spaces ({name}); write .h5")
    if suffix == ".h5":
        import_extra("h5py", "hdf5", f"{path}: .h5 needs h5py")


def spread(trust: Array, most: int) -> npt.NDArray[np.int64]:
    """``(N, 2)`` x and y of the largest value of every cell of a grid with about ``most`` cells in use."""
    y, x = np.nonzero(trust >= 0)
    values = trust[y, x]
    step = max(1.0, np.sqrt(len(x) / most))
    while True:
        cells = (y / step).astype(np.int64) * trust.shape[1] + (x / step).astype(np.int64)
        best = np.lexsort((-values, cells))
        _, first = np.unique(cells[best], return_index=True)
        if len(first) <= most:
            return np.stack([x, y], axis=1)[best[first]]
        step *= 1.05


def _write_h5(path: Path, scene: Scene) -> None:
    import h5py

    # In memory: HDF5 crashes where the disk is full.
    with h5py.File(path, "w", driver="core", backing_store=False) as file:
        for name, points in scene.points.items():
            file.create_group(name)["keypoints"] = points.astype(np.float32)
        for names, (indices, confidence) in scene.pairs.items():
            matches = np.full(len(scene.points[names[0]]), -1, np.int32)
            scores = np.zeros(len(matches), np.float16)
            matches[indices[:, 0]], scores[indices[:, 0]] = indices[:, 1], confidence
            pair = file.create_group("/".join(name.replace("/", "-") for name in names))
            pair["matches0"], pair["matching_scores0"] = matches, scores
        file.flush()
        data = file.id.get_file_image()
    write_bytes(path, data)


def _write_txt(path: Path, scene: Scene) -> None:
    folder = path.with_name(f"{path.stem}_keypoints")
    for name, points in scene.points.items():
        lines = [f"{x + 0.5:.4f} {y + 0.5:.4f} 1 0{_DESCRIPTOR}\n" for x, y in points]
        write_text(folder / f"{name}.txt", f"{len(points)} 128\n" + "".join(lines))
    blocks = []
    for names, (indices, _) in scene.pairs.items():
        rows = "".join(f"{first} {second}\n" for first, second in indices)
        blocks.append(f"{' '.join(names)}\n{rows}\n")
    write_text(path, "".join(blocks))
