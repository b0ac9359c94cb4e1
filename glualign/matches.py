"""Point matches of an aligned pair, for structure from motion: sampled from the flow, written as files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glualign.errors import OutputError
from glualign.files import atomic_path, write_text
from glualign.flow import to_source
from glualign.scene import WRITERS as SCENE_WRITERS
from glualign.scene import Scene, check_scene_path, write_scene

if TYPE_CHECKING:
    from glualign.alignment import Alignment

MOST = 2000
"""Matches of a pair unless another number is asked for."""
LEAST_CONFIDENCE = 0.5
"""Confidence that a match needs unless another is asked for."""


@dataclass(frozen=True, eq=False)
class Matches:
    """Points of a source and a target that show the same thing.

    Attributes:
        source: ``(N, 2)`` float64, x and y in source pixels, integers at pixel centres.
        target: ``(N, 2)`` float64, x and y in target pixels.
        confidence: ``(N,)`` float32, 0 to 1.
        names: names of the source and the target image.
    """

    source: npt.NDArray[np.float64]
    target: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float32]
    names: tuple[str, str]


def find_matches(
    alignment: Alignment,
    *,
    most: int = MOST,
    least_confidence: float = LEAST_CONFIDENCE,
    points: npt.ArrayLike | None = None,
) -> Matches:
    """Matches where the flow is trusted.

    Args:
        alignment: the aligned pair.
        most: matches at most; spread evenly over the trusted pixels, the most confident of every cell.
        least_confidence: of a match, 0 to 1.
        points: ``(N, 2)`` x and y in target pixels at which to match, instead of an even spread.

    Returns:
        Possibly none.
    """
    eligible = alignment.trusted & (alignment.confidence >= least_confidence)
    if points is None:
        target = spread(np.where(eligible, alignment.confidence, -1.0), most).astype(np.float64)
    else:
        target = np.asarray(points, np.float64).reshape(-1, 2)
        target = target[np.isfinite(target).all(axis=1)]
    x, y = np.clip(np.rint(target), 0, np.array(eligible.shape[::-1]) - 1).astype(int).T
    source = np.asarray(to_source(alignment.flow, target), np.float64)
    kept = eligible[y, x] & np.isfinite(source).all(axis=1)
    kept &= ((target >= -0.5) & (target <= np.array(eligible.shape[::-1]) - 0.5)).all(axis=1)
    order = np.flatnonzero(kept)
    if len(order) > most:
        order = np.sort(order[np.argsort(-alignment.confidence[y, x][order], kind="stable")[:most]])
    return Matches(
        source[order],
        target[order],
        alignment.confidence[y, x][order],
        (alignment.source.name, alignment.target.name),
    )


def write_matches(path: str | os.PathLike[str], matches: Matches) -> None:
    """Write matches in the form that the extension names.

    ``.csv``: columns source_x, source_y, target_x, target_y, confidence. ``.npz``: keypoints0, keypoints1 (of
    source and target) and confidence. ``.h5`` and ``.txt``: as `write_scene`.

    Raises:
        OutputError: unknown extension, images of one name where names tell them apart, or no place to write.
        MissingExtraError: ``.h5`` without h5py.
    """
    check_matches_path(path, matches.names)
    _WRITERS[Path(path).suffix.lower()](Path(path), matches)


def check_matches_path(path: str | os.PathLike[str], names: tuple[str, str] = ("", " ")) -> None:
    """Refuse a file that `write_matches` could not write; raises as it does."""
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise OutputError(f"{path}: not a format of matches; use one of {' '.join(_WRITERS)}")
    if suffix in SCENE_WRITERS and names[0] == names[1]:
        raise OutputError(f"{path}: {suffix} tells images apart by name, and both are called {names[0]}")
    if suffix in SCENE_WRITERS:
        check_scene_path(path)


def spread(trust: npt.NDArray[Any], most: int) -> npt.NDArray[np.int64]:
    """``(N, 2)`` x and y of the largest value of every cell of a grid with about ``most`` cells in use."""
    y, x = np.nonzero(trust >= 0)
    values = trust[y, x]
    step = max(1.0, np.sqrt(len(x) / max(1, most)))
    while True:
        cells = (y / step).astype(np.int64) * trust.shape[1] + (x / step).astype(np.int64)
        best = np.lexsort((-values, cells))
        _, first = np.unique(cells[best], return_index=True)
        if len(first) <= most:
            return np.stack([x, y], axis=1)[best[first]]
        step *= 1.05


def _write_csv(path: Path, matches: Matches) -> None:
    rows = io.StringIO()
    table = np.column_stack([matches.source, matches.target, matches.confidence])
    np.savetxt(rows, table, "%.4f", ",", header="source_x,source_y,target_x,target_y,confidence", comments="")
    write_text(path, rows.getvalue())


def _write_npz(path: Path, matches: Matches) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(
            stream,
            keypoints0=matches.source.astype(np.float32),
            keypoints1=matches.target.astype(np.float32),
            confidence=matches.confidence,
            names=np.array(matches.names),
        )


def _scene(matches: Matches) -> Scene:
    """The two images alone."""
    indices = np.repeat(np.arange(len(matches.source))[:, None], 2, axis=1)
    points = dict(zip(matches.names, (matches.source, matches.target), strict=True))
    return Scene(points, {matches.names: (indices, matches.confidence)})


_WRITERS: dict[str, Callable[[Path, Matches], None]] = {
    ".csv": _write_csv,
    ".npz": _write_npz,
    ".h5": lambda path, matches: write_scene(path, _scene(matches)),
    ".txt": lambda path, matches: write_scene(path, _scene(matches)),
}
