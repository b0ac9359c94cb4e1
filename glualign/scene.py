"""Key points and matches of many images as one scene, in the files that structure from motion reads.

Positions are in pixels with integer coordinates at pixel centres, as in `glualign.flow`; COLMAP counts from
the corner, so half a pixel is added for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glualign.errors import MissingExtraError, OutputError
from glualign.files import atomic_path, write_text

_DESCRIPTOR = " 0" * 128
"""COLMAP's text import wants one per key point; matches that are imported do not use it."""


@dataclass(frozen=True, eq=False)
class Scene:
    """Key points of images, and which of them show the same thing.

    Attributes:
        points: by name of an image, ``(N, 2)`` float64, x and y in pixels.
        pairs: by the names of two images: ``(M, 2)`` int64 of indices into the points of both, and ``(M,)``
            float32 confidence, 0 to 1. No index occurs twice in a column.
    """

    points: Mapping[str, npt.NDArray[np.float64]]
    pairs: Mapping[tuple[str, str], tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]]


def write_scene(path: str | os.PathLike[str], scene: Scene) -> None:
    """Write a scene in the form that the extension names.

    ``.h5``: key points and matches as hloc stores them, in one file. ``.txt``: COLMAP's raw match list, with
    a folder ``STEM_keypoints`` of its key point files beside it.

    Raises:
        OutputError: unknown extension, or no place to write.
        MissingExtraError: ``.h5`` without h5py.
    """
    check_scene_path(path)
    WRITERS[Path(path).suffix.lower()](Path(path), scene)


def check_scene_path(path: str | os.PathLike[str]) -> None:
    """Refuse a file that `write_scene` could not write; raises as it does."""
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise OutputError(f"{path}: not a format of a scene; use one of {' '.join(WRITERS)}")
    if suffix == ".h5":
        _h5py(path)


def _write_h5(path: Path, scene: Scene) -> None:
    h5py = _h5py(path)
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for name, points in scene.points.items():
            file.create_group(name)["keypoints"] = points.astype(np.float32)
        for names, (indices, confidence) in scene.pairs.items():
            matches = np.full(len(scene.points[names[0]]), -1, np.int32)
            scores = np.zeros(len(matches), np.float16)
            matches[indices[:, 0]], scores[indices[:, 0]] = indices[:, 1], confidence
            pair = file.create_group("/".join(name.replace("/", "-") for name in names))
            pair["matches0"], pair["matching_scores0"] = matches, scores


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


WRITERS: dict[str, Callable[[Path, Scene], None]] = {".h5": _write_h5, ".txt": _write_txt}


def _h5py(path: str | os.PathLike[str]) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(f"{path}: .h5 needs h5py: pip install 'glualign[hdf5]'") from error
    return h5py
